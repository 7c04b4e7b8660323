#include "gateway/bridge/abilities.hpp"

#include <algorithm>

#include "gateway/bridge/limits.hpp"

namespace nbdgw::bridge {

Abilities abilities_of(const device::Facts& facts, const Refusals& refused, std::uint64_t lun) noexcept {
  Abilities can;
  can.lun = lun;
  can.block = facts.block_length;
  can.transfer = device::max_transfer_blocks(facts);
  // Both bounds are multiples of every block length, a power of two up to kMinPart.
  const std::uint64_t task = can.transfer * can.block;
  can.part = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(task, kMinPart, kMaxPart));
  can.cache = facts.write_cache && !refused.synchronize;
  can.fua_bit = facts.dpofua;
  can.synchronize_16 = !refused.synchronize_16;
  can.unmap = refused.unmap ? 0 : device::max_unmap_blocks(facts);
  can.write_same = refused.write_same ? 0 : device::max_write_same_blocks(facts);
  can.write_same_unmap = can.write_same > 0 && !refused.write_same_unmap && device::can_write_same_unmap(facts);
  return can;
}

}  // namespace nbdgw::bridge
