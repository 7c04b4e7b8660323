#include "gateway/bridge/abilities.hpp"

#include <algorithm>

#include "gateway/bridge/limits.hpp"

namespace nbdgw::bridge {

bool out_of_reach(const device::Facts& facts, const Refusals& refused) noexcept {
  return refused.transfer_16 && facts.blocks > device::kReachOf10;
}

Abilities abilities_of(const device::Facts& facts, const Refusals& refused, std::uint64_t lun) noexcept {
  Abilities can;
  can.lun = lun;
  can.block = facts.block_length;
  // Where it does not reach, nothing is sent at all.
  can.transfer_16 = !refused.transfer_16 || out_of_reach(facts, refused);
  can.transfer = device::max_transfer_blocks(facts);
  static_assert(device::kMaxCommandBytes / device::kMinBlockLength <= device::kMaxBlocks10);
  // Both bounds are multiples of every block length, a power of two up to kMinPart.
  const std::uint64_t command = can.transfer * can.block;
  can.part = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(command, kMinPart, kMaxPart));
  can.cache = facts.write_cache && !refused.synchronize;
  can.fua_bit = facts.dpofua && !refused.fua;
  can.synchronize_16 = !refused.synchronize_16;
  can.unmap = refused.unmap ? 0 : device::max_unmap_blocks(facts);
  can.write_same = refused.write_same ? 0 : device::max_write_same_blocks(facts);
  can.write_same_16 = !refused.write_same_16;
  if (!can.write_same_16) {
    const bool reaches = facts.blocks <= device::kReachOf10;
    can.write_same = reaches ? std::min<std::uint64_t>(can.write_same, device::kMaxBlocks10) : 0;
  }
  // Of the 10-byte form nobody has said that it has that bit.
  can.write_same_unmap =
      can.write_same > 0 && can.write_same_16 && !refused.write_same_unmap && device::can_write_same_unmap(facts);
  return can;
}

}  // namespace nbdgw::bridge
