#include "gateway/iscsi_target/volatile_medium.hpp"

#include <algorithm>
#include <new>

#include "proto/bytes/iovecs.hpp"

namespace nbdgw::iscsi_target {

std::uint64_t VolatileMedium::length_of(std::uint64_t block) const noexcept {
  return std::min<std::uint64_t>(kBlock, size() - block * kBlock);
}

void VolatileMedium::forget(std::uint64_t block) noexcept {
  const auto found = by_block_.find(block);
  if (found == by_block_.end()) return;
  old_.erase(found->second);
  by_block_.erase(found);
}

void VolatileMedium::forget_all() noexcept {
  by_block_.clear();
  old_.clear();
}

/// `only_mapped`: what reads as zeroes already will not change.
MediumResult VolatileMedium::remember(std::uint64_t offset, std::uint64_t length, bool only_mapped) noexcept try {
  if (length == 0) return MediumResult::ok;
  const std::uint64_t end = (offset + length - 1) / kBlock + 1;
  std::uint64_t block = offset / kBlock;
  if (end - block > max_blocks_) {  // of what could not be kept anyway nothing is read
    forget_all();
    block = end - max_blocks_;
  }
  while (block < end) {
    if (only_mapped) {
      const std::uint64_t at = block * kBlock;
      const MediumExtent run = below_.extent(at, std::min(end * kBlock, size()) - at);
      if (!run.mapped && run.length >= length_of(block)) {
        block += std::max<std::uint64_t>(run.length / kBlock, 1);
        continue;
      }
    }
    if (const auto result = remember_block(block); result != MediumResult::ok) return result;
    ++block;
  }
  return MediumResult::ok;
} catch (const std::bad_alloc&) {
  forget_all();  // as if the cache were smaller
  return MediumResult::ok;
}

MediumResult VolatileMedium::remember_block(std::uint64_t block) {
  if (by_block_.contains(block)) return MediumResult::ok;
  const std::uint64_t length = length_of(block);
  const MediumExtent run = below_.extent(block * kBlock, length);
  Old old{.block = block, .bytes = nullptr};
  if (run.mapped || run.length < length) {
    old.bytes = std::make_unique_for_overwrite<Bytes>();
    const iovec to{old.bytes->data(), static_cast<std::size_t>(length)};
    if (const auto result = below_.read(block * kBlock, {&to, 1}); result != MediumResult::ok) return result;
  }
  while (!old_.empty() && old_.size() >= max_blocks_) forget(old_.front().block);
  old_.push_back(std::move(old));
  by_block_[block] = std::prev(old_.end());
  return MediumResult::ok;
}

MediumResult VolatileMedium::write(std::uint64_t offset, std::span<const iovec> from) {
  const auto result = remember(offset, proto::total_length(from), false);
  return result == MediumResult::ok ? below_.write(offset, from) : result;
}

MediumResult VolatileMedium::discard(std::uint64_t offset, std::uint64_t length) {
  const auto result = remember(offset, length, true);
  return result == MediumResult::ok ? below_.discard(offset, length) : result;
}

MediumResult VolatileMedium::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  const auto result = remember(offset, length, true);
  return result == MediumResult::ok ? below_.write_zeroes(offset, length) : result;
}

MediumResult VolatileMedium::flush() {
  const auto result = below_.flush();
  if (result == MediumResult::ok) forget_all();
  return result;
}

/// Blocks that lie only partly in the range keep what is old beside it.
MediumResult VolatileMedium::flush_range(std::uint64_t offset, std::uint64_t length) {
  const auto result = below_.flush_range(offset, length);
  if (result != MediumResult::ok || length == 0) return result;
  for (std::uint64_t block = offset / kBlock; block <= (offset + length - 1) / kBlock; ++block) {
    const auto found = by_block_.find(block);
    if (found == by_block_.end()) continue;
    const std::uint64_t begin = std::max(offset, block * kBlock);
    const std::uint64_t end = std::min(offset + length, block * kBlock + length_of(block));
    if (end - begin == length_of(block)) {
      forget(block);
      continue;
    }
    auto& bytes = found->second->bytes;
    if (!bytes) bytes = std::make_unique<Bytes>();  // zeroed
    const iovec to{bytes->data() + begin % kBlock, static_cast<std::size_t>(end - begin)};
    if (const auto read = below_.read(begin, {&to, 1}); read != MediumResult::ok) return read;
  }
  return MediumResult::ok;
}

void VolatileMedium::lose_unflushed() {
  for (const Old& old : old_) {
    const std::uint64_t offset = old.block * kBlock;
    const iovec from{old.bytes ? old.bytes->data() : nullptr, static_cast<std::size_t>(length_of(old.block))};
    if (old.bytes)
      below_.write(offset, {&from, 1});
    else
      below_.discard(offset, length_of(old.block));
  }
  forget_all();
  below_.lose_unflushed();
}

}  // namespace nbdgw::iscsi_target
