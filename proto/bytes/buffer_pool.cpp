#include "proto/bytes/buffer_pool.hpp"

#include <algorithm>
#include <bit>

#include "proto/assert.hpp"

namespace nbdgw::proto {

BufferPool::BufferPool(std::span<std::byte> arena) : base_(arena.data()), large_(arena.size() / kLargeBlock) {
  for (std::size_t i = large_.size(); i-- > 0;) {
    large_[i].next = free_large_;
    free_large_ = static_cast<std::uint32_t>(i);
  }
}

std::size_t BufferPool::allocate(std::size_t length, std::span<iovec> out) noexcept {
  NBDGW_ASSERT(length > 0, "an allocation has a length");
  std::size_t filled = 0;
  while (length > 0) {
    const bool small = length <= kSmallLimit;
    std::byte* block = filled == out.size() ? nullptr : small ? take_small() : take_large();
    if (block == nullptr) {
      release(out.first(filled));
      return 0;
    }
    const std::size_t n = std::min(length, small ? kSmallBlock : kLargeBlock);
    out[filled++] = iovec{block, n};
    length -= n;
  }
  return filled;
}

void BufferPool::release(std::span<const iovec> blocks) noexcept {
  for (std::size_t i = blocks.size(); i-- > 0;) give_back(static_cast<std::byte*>(blocks[i].iov_base));
}

std::byte* BufferPool::take_large() noexcept {
  if (free_large_ == kNone) return nullptr;
  const std::uint32_t index = free_large_;
  free_large_ = large_[index].next;
  large_[index].taken = true;
  used_ += kLargeBlock;
  return base_ + index * kLargeBlock;
}

std::byte* BufferPool::take_small() noexcept {
  if (partial_ == kNone) {
    if (free_large_ == kNone) return nullptr;
    const std::uint32_t index = free_large_;
    free_large_ = large_[index].next;
    large_[index].split = true;
    large_[index].small_free = kAllFree;
    link_partial(index);
  }
  const std::uint32_t index = partial_;
  Large& large = large_[index];
  const int bit = std::countr_zero(large.small_free);
  large.small_free = static_cast<std::uint16_t>(large.small_free & (large.small_free - 1));
  if (large.small_free == 0) unlink_partial(index);
  used_ += kSmallBlock;
  return base_ + index * kLargeBlock + static_cast<std::size_t>(bit) * kSmallBlock;
}

void BufferPool::give_back(std::byte* block) noexcept {
  const auto offset = static_cast<std::size_t>(block - base_);
  const auto index = static_cast<std::uint32_t>(offset / kLargeBlock);
  NBDGW_ASSERT(index < large_.size(), "a block goes back to the pool it came from");
  Large& large = large_[index];
  if (!large.split) {
    NBDGW_ASSERT(large.taken && offset % kLargeBlock == 0, "a block is given back once");
    large.taken = false;
    used_ -= kLargeBlock;
  } else {
    const auto bit = static_cast<std::uint16_t>(1U << (offset % kLargeBlock / kSmallBlock));
    NBDGW_ASSERT((large.small_free & bit) == 0, "a block is given back once");
    if (large.small_free == 0) link_partial(index);
    large.small_free = static_cast<std::uint16_t>(large.small_free | bit);
    used_ -= kSmallBlock;
    if (large.small_free != kAllFree) return;
    unlink_partial(index);
    large.split = false;
    large.small_free = 0;
  }
  large.next = free_large_;
  free_large_ = index;
}

void BufferPool::link_partial(std::uint32_t index) noexcept {
  large_[index].previous = kNone;
  large_[index].next = partial_;
  if (partial_ != kNone) large_[partial_].previous = index;
  partial_ = index;
}

void BufferPool::unlink_partial(std::uint32_t index) noexcept {
  const Large& large = large_[index];
  if (large.previous != kNone) large_[large.previous].next = large.next;
  if (large.next != kNone) large_[large.next].previous = large.previous;
  if (partial_ == index) partial_ = large.next;
}

}  // namespace nbdgw::proto
