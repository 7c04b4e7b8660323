#include "tests/sim/target/medium.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace nbdgw::sim {

const char* to_string(Fate fate) noexcept {
  constexpr const char* kFateNames[] = {"waiting", "running", "done", "answered", "aborted", "lost"};
  return kFateNames[static_cast<std::size_t>(fate)];
}

MediumOptions MediumOptions::draw(Random& random, std::uint32_t number, std::uint64_t bytes) {
  MediumOptions options;
  options.block_size = random.chance(0.3) ? 4096 : 512;
  options.blocks = bytes / options.block_size;
  options.serial = "SIM" + std::to_string(1000 + number);
  options.naa = random.chance(0.8) ? 0x6001405000000000 + number : 0;
  if (options.naa == 0 || random.chance(0.3)) options.t10 = "SIMULATR" + options.serial;
  options.write_cache = random.chance(0.7);
  options.fua = random.chance(0.7);
  options.sixteen = random.chance(0.9);
  options.unmap = random.chance(0.7);
  options.write_same = random.chance(0.7);
  options.unmapped_reads_zeroes = random.chance(0.7);
  if (options.block_size == 512 && random.chance(0.5)) options.physical_exponent = 3;
  if (random.chance(0.4)) options.most_blocks = static_cast<std::uint32_t>(random.spread(64, 4096));
  options.most_unmapped = static_cast<std::uint32_t>(random.spread(64, 1 << 20));
  options.most_same = random.chance(0.3) ? 0 : static_cast<std::uint64_t>(random.spread(64, 1 << 20));
  options.short_counts = options.most_same == 0 && random.chance(0.5);
  return options;
}

Medium::Medium(MediumOptions options, MediumObserver* observer)
    : options_(std::move(options)), observer_(observer), dirty_(options_.blocks) {
  clear();
}

void Medium::clear() {
  kept_ = cells_of_block() * kept_of_payload();
  current_.restart(options_.blocks * kept_);
  durable_.restart(current_.size());
}

void Medium::make_durable(std::uint64_t lba, std::uint64_t blocks) noexcept {
  std::memcpy(durable_.write(lba * kept_, blocks * kept_), block(lba), blocks * kept_);
}

void Medium::settle(std::uint64_t lba, std::uint64_t blocks, bool fua) {
  if (!options_.write_cache || fua) {
    make_durable(lba, blocks);
    if (dirty_count_ == 0) return;
    for (std::uint64_t at = lba; at < lba + blocks; ++at) dirty_count_ -= std::exchange(dirty_[at], std::uint8_t{0});
    return;
  }
  for (std::uint64_t at = lba; at < lba + blocks; ++at)
    dirty_count_ += 1U - std::exchange(dirty_[at], std::uint8_t{1});
  if (!runs_.empty() && runs_.back().lba + runs_.back().blocks == lba) {
    runs_.back().blocks += blocks;
  } else if (runs_.size() < options_.blocks) {
    runs_.push_back({lba, blocks});
  } else {  // nobody ever flushes: one look at all of it is as quick
    runs_.assign(1, {0, options_.blocks});
  }
}

void Medium::tell(std::uint64_t lba, std::uint64_t blocks, WriteEvent::Kind kind, bool fua, Micros at,
                  const Origin& origin) {
  if (observer_ == nullptr) return;
  observer_->on_write({.medium = *this,
                       .lba = lba,
                       .blocks = blocks,
                       .kind = kind,
                       .durable = fua || !options_.write_cache,
                       .at = at,
                       .origin = origin});
}

Piece Medium::read(std::uint64_t lba, std::uint64_t blocks, const Origin& origin) const {
  if (observer_ != nullptr) observer_->on_read(*this, lba, blocks, origin);
  return view(lba, blocks);
}

void Medium::write(std::uint64_t lba, const Piece& data, bool fua, Micros at, const Origin& origin) {
  const std::uint64_t blocks = data.size() / options_.block_size;
  if (blocks == 0) return;
  move(place(lba, blocks), data.first(blocks * options_.block_size));
  settle(lba, blocks, fua);
  tell(lba, blocks, WriteEvent::Kind::data, fua, at, origin);
}

void Medium::write_same(std::uint64_t lba, std::uint64_t blocks, const Piece& block, Micros at,
                        const Origin& origin) {
  if (blocks == 0) return;
  for (std::uint64_t i = 0; i < blocks; ++i) move(place(lba + i, 1), block);
  settle(lba, blocks, false);
  tell(lba, blocks, WriteEvent::Kind::same, false, at, origin);
}

void Medium::unmap(std::uint64_t lba, std::uint64_t blocks, Micros at, const Origin& origin) {
  if (blocks == 0) return;
  // Where nothing is promised for them they keep what they have: that is allowed, too.
  if (options_.unmapped_reads_zeroes) {
    sim::clear(place(lba, blocks));
  }
  settle(lba, blocks, false);
  tell(lba, blocks, WriteEvent::Kind::unmap, false, at, origin);
}

void Medium::synchronize(std::uint64_t lba, std::uint64_t blocks, Micros at, const Origin& origin) {
  if (blocks == 0) blocks = options_.blocks - lba;
  const std::uint64_t end = lba + blocks;
  for (const Run& run : runs_) {
    const std::uint64_t last = std::min(end, run.lba + run.blocks);
    for (std::uint64_t from = std::max(lba, run.lba); from < last;) {
      if (dirty_[from] == 0) {
        ++from;
        continue;
      }
      std::uint64_t to = from;
      while (to < last && dirty_[to] != 0) dirty_[to++] = 0;
      make_durable(from, to - from);
      dirty_count_ -= to - from;
      from = to;
    }
  }
  if (dirty_count_ == 0) runs_.clear();
  if (observer_ != nullptr) observer_->on_sync(*this, lba, blocks, at, origin);
}

void Medium::lose_power(Random& random, Micros at, bool lasting) {
  const bool all = random.chance(0.5);
  std::uint64_t reverted = 0;
  for (const Run& run : runs_) {
    for (std::uint64_t lba = run.lba; lba < run.lba + run.blocks; ++lba) {
      if (std::exchange(dirty_[lba], std::uint8_t{0}) == 0) continue;
      if (!all && random.chance(0.5)) {
        make_durable(lba, 1);
        continue;
      }
      std::memcpy(current_.write(lba * kept_, kept_), durable_block(lba), kept_);
      ++reverted;
      if (observer_ != nullptr) observer_->on_block_lost(*this, lba);
    }
  }
  runs_.clear();
  dirty_count_ = 0;
  if (observer_ != nullptr) observer_->on_power_loss(*this, reverted, at, lasting);
}

void Medium::grow(std::uint64_t blocks) {
  options_.blocks = std::max(options_.blocks, blocks);
  current_.resize(options_.blocks * kept_);
  durable_.resize(current_.size());
  dirty_.resize(options_.blocks);
}

}  // namespace nbdgw::sim
