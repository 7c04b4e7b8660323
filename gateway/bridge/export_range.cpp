#include <algorithm>

#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// TRIM and WRITE_ZEROES: up to 4 GiB in one request, cut into slices as the segments come free.
namespace nbdgw::bridge {

using proto::nbd::Command;
using proto::nbd::Error;

/// What of a TRIM can be unmapped: whole blocks in whole granules. May be empty.
BlockRange Export::trim_range(std::uint64_t offset, std::uint64_t length) const noexcept {
  const BlockRange whole =
      NBDGW_MUTANT(trim_beyond_its_range) ? widen(offset, length, can_.block) : narrow(offset, length, can_.block);
  const device::BlockRange granules = device::whole_granules(unit_.facts(), {whole.first, whole.count()});
  return {granules.lba, granules.lba + granules.blocks};
}

/// Gives each spare segment the next slice.
void Export::feed(IoRequest& request) {
  for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    if (request.cursor >= request.range_end || request.error != Error::none || request.abandoned) return;
    if (segment->phase == Segment::Phase::spare && cut_slice(request, *segment)) launch(*segment, segment->operation);
  }
}

/// False: this segment has to wait for another one.
bool Export::cut_slice(IoRequest& request, Segment& segment) {
  segment.blocks_done = 0;
  return request.header.command == Command::trim ? cut_unmap_slice(request, segment)
                                                 : cut_zero_slice(request, segment);
}

bool Export::cut_unmap_slice(IoRequest& request, Segment& segment) {
  segment.lba = request.cursor / can_.block;
  // unmap is 0 only when the LUN lost the ability after the request began: then nothing is cut, and it ends.
  segment.blocks = std::min<std::uint64_t>((request.range_end - request.cursor) / can_.block, can_.unmap);
  segment.operation = Operation::unmap;
  if (segment.blocks == 0) {
    request.cursor = request.range_end;
    return false;
  }
  request.cursor += segment.blocks * can_.block;
  return true;
}

bool Export::cut_zero_slice(IoRequest& request, Segment& segment) {
  const std::uint64_t left = request.range_end - request.cursor;
  const std::uint64_t skew = request.cursor % can_.block;
  segment.lba = request.cursor / can_.block;
  if (skew != 0 || left < can_.block) {
    // A block that is zeroed in part. Only the first segment has memory for it; there are two of them at most.
    if (segment.memory_count == 0) return false;
    segment.offset = request.cursor;
    segment.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, can_.block - skew));
    segment.blocks = 1;
    segment.operation = Operation::edge_read;
    request.cursor += segment.length;
    return true;
  }
  segment.operation = zero_operation(request);
  const std::uint64_t most = segment.operation == Operation::write_zeroes ? kMaxPart / can_.block : can_.write_same;
  segment.blocks = std::min<std::uint64_t>(left / can_.block, most);
  request.cursor += segment.blocks * can_.block;
  return true;
}

/// How whole blocks are zeroed: NBD_CMD_FLAG_NO_HOLE wants them to stay provisioned.
Operation Export::zero_operation(const IoRequest& request) const noexcept {
  const bool no_hole = (request.header.flags & proto::nbd::kCmdFlagNoHole) != 0;
  if (can_.write_same_unmap && !no_hole) return Operation::write_same_unmap;
  return can_.write_same > 0 ? Operation::write_same : Operation::write_zeroes;
}

}  // namespace nbdgw::bridge
