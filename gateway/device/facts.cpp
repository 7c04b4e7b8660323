#include "gateway/device/facts.hpp"

#include <algorithm>

#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::device {
namespace {

std::uint64_t blocks_in(const Facts& facts, std::uint64_t bytes) noexcept {
  NBDGW_ASSERT(facts.block_length != 0, "facts come from a probe that succeeded");
  return std::max<std::uint64_t>(bytes / facts.block_length, 1);
}

}  // namespace

std::uint32_t max_transfer_blocks(const Facts& facts) noexcept {
  const auto own = static_cast<std::uint32_t>(blocks_in(facts, kMaxCommandBytes));
  return facts.max_transfer == 0 ? own : std::min(own, facts.max_transfer);
}

bool can_unmap(const Facts& facts) noexcept {
  return facts.lbpme && facts.lbpu && facts.max_unmap_lba_count != 0 && facts.max_unmap_descriptors != 0;
}

std::uint32_t max_unmap_blocks(const Facts& facts) noexcept {
  if (!can_unmap(facts)) return 0;
  const std::uint64_t own = blocks_in(facts, kMaxUnmapBytes);
  const auto most = static_cast<std::uint32_t>(std::min<std::uint64_t>(facts.max_unmap_lba_count, own));
  return most < facts.unmap_granularity ? most : most - most % facts.unmap_granularity;
}

bool can_write_same_unmap(const Facts& facts) noexcept {
  return facts.write_same && facts.lbpme && facts.lbpws && facts.lbprz;
}

std::uint32_t max_write_same_blocks(const Facts& facts) noexcept {
  if (!facts.write_same) return 0;
  const std::uint64_t own = blocks_in(facts, kMaxWriteSameBytes);
  if (facts.max_write_same != 0) return static_cast<std::uint32_t>(std::min(own, facts.max_write_same));
  // The assumed limit is odd, and a command that ends inside a physical block costs the unit a read and a write more.
  const std::uint32_t physical = std::max<std::uint32_t>(facts.physical_block_length / facts.block_length, 1);
  const std::uint32_t known = kAssumedWriteSameBlocks + (NBDGW_MUTANT(write_same_beyond_16_bits) ? 1 : 0);
  const std::uint32_t assumed = known - known % physical;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(own, assumed > 0 ? assumed : kAssumedWriteSameBlocks));
}

BlockRange whole_granules(const Facts& facts, BlockRange range) noexcept {
  const std::uint64_t granule = std::max<std::uint32_t>(facts.unmap_granularity, 1);
  const std::uint64_t origin = facts.unmap_alignment % granule;
  const std::uint64_t end = range.lba + range.blocks;
  if (end < origin) return {range.lba, 0};
  std::uint64_t first = origin;
  if (range.lba > origin) {
    const std::uint64_t past_boundary = (range.lba - origin) % granule;
    first = past_boundary == 0 ? range.lba : range.lba + (granule - past_boundary);
  }
  const std::uint64_t last = end - (end - origin) % granule;
  return last > first ? BlockRange{first, last - first} : BlockRange{range.lba, 0};
}

}  // namespace nbdgw::device
