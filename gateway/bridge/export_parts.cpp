#include <algorithm>
#include <cstring>

#include "gateway/bridge/errors.hpp"
#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// The steps of a segment: what follows when one of its commands has ended well, and what else to try when the LUN
/// does not know the command.
namespace nbdgw::bridge {

namespace {

/// Zeroes `length` bytes of a scatter list from `offset` on: less than a block.
void zero(std::span<const iovec> list, std::size_t offset, std::size_t length) noexcept {
  for (const iovec& entry : list) {
    if (length == 0) return;
    if (offset >= entry.iov_len) {
      offset -= entry.iov_len;
      continue;
    }
    const std::size_t n = std::min(length, entry.iov_len - offset);
    std::memset(static_cast<std::byte*>(entry.iov_base) + offset, 0, n);
    offset = 0;
    length -= n;
  }
}

bool is_of_16_bytes(const initiator::ScsiCommand& command) noexcept {
  return command.cdb_length == 16;
}

}  // namespace

/// An unaligned WRITE first reads what it would otherwise overwrite at its ends.
Operation Export::first_write_operation(const Segment& segment) const noexcept {
  if (segment.offset % can_.block != 0) return Operation::head_read;
  if ((segment.offset + segment.length) % can_.block != 0) return Operation::tail_read;
  return Operation::write;
}

void Export::segment_good(Segment& segment) {
  const std::uint64_t end = segment.offset + segment.length;
  segment.begin_anew();
  switch (segment.operation) {
    case Operation::head_read:
      ++counters_.read_modify_writes;
      // The only block was read for both ends.
      segment.operation = segment.blocks > 1 && end % can_.block != 0 ? Operation::tail_read : Operation::write;
      queue_.push_front(segment);
      return;
    case Operation::tail_read:
      ++counters_.read_modify_writes;
      segment.operation = Operation::write;
      queue_.push_front(segment);
      return;
    case Operation::edge_read:
      ++counters_.read_modify_writes;
      zero(segment.memory_list(), segment.offset % can_.block, segment.length);
      segment.operation = Operation::edge_write;
      queue_.push_front(segment);
      return;
    default:
      break;
  }
  NBDGW_ASSERT(segment.operation != Operation::none, "a command that ran had something to do");
  segment.blocks_done += segment.command_blocks;
  if (segment.blocks_done < segment.blocks) {
    queue_.push_back(segment);
  } else {
    settle(segment, true);
  }
}

/// The LUN refuses the command, or a bit in it. True: the segment goes on in another way, from where it is; with
/// Operation::none it has nothing more to do.
bool Export::falls_back(Segment& segment, proto::Micros now) {
  switch (segment.operation) {
    case Operation::write_same_unmap:
    case Operation::write_same:
      if (is_of_16_bytes(segment) && unknown_command(segment)) {
        refused_.write_same_16 = true;
      } else {
        refused_.write_same_unmap = true;
        if (segment.operation == Operation::write_same) {
          refused_.write_same = true;
          unit_.write_same_refused();
        }
      }
      refresh_abilities();
      revise_operation(segment);
      return true;
    case Operation::unmap:
      // Without UNMAP, TRIM is a hint that comes to nothing. An UNMAP that is known but refused is an error.
      if (!unknown_command(segment)) return false;
      refused_.unmap = true;
      unit_.unmap_refused();
      refresh_abilities();
      revise_operation(segment);
      return true;
    case Operation::read:
    case Operation::head_read:
    case Operation::tail_read:
    case Operation::edge_read:
      return forgoes_16_bytes(segment, now);
    case Operation::write:
    case Operation::edge_write:
    case Operation::write_zeroes:
      if (forgoes_16_bytes(segment, now)) return true;
      if (!device::has_fua(segment) || NBDGW_MUTANT(fua_refusal_is_final)) return false;
      refused_.fua = true;
      refresh_abilities();
      segment.request->fua_bit = false;  // so that a SYNCHRONIZE CACHE follows
      return true;
    case Operation::none:
      break;
  }
  return false;
}

/// The LUN does not know READ(16) or WRITE(16). True: the 10-byte form is tried. What else was under way comes here,
/// too, one by one.
bool Export::forgoes_16_bytes(const Segment& segment, proto::Micros now) {
  // "Invalid field" speaks of the operation code only with a LUN that did not know READ CAPACITY(16) either.
  const bool unknown = unknown_command(segment) || (invalid_field(segment) && !unit_.facts().capacity_16);
  if (!is_of_16_bytes(segment) || !unknown || NBDGW_MUTANT(short_forms_not_tried)) return false;
  refused_.transfer_16 = true;
  if (!out_of_reach(unit_.facts(), refused_)) {
    refresh_abilities();
    return true;
  }
  if (state_ != ExportState::online) return true;  // the probe that runs will come to the same
  refuse_out_of_reach(now);
  return false;
}

/// Another segment, or a probe, may have learnt meanwhile that the LUN does not know what this one was about to send.
/// Operation::none: so there is nothing to send.
void Export::revise_operation(Segment& segment) const noexcept {
  if (segment.operation == Operation::unmap && can_.unmap == 0) {  // a hint that comes to nothing
    segment.request->cursor = segment.request->range_end;
    segment.operation = Operation::none;
  }
  if (segment.operation == Operation::write_same_unmap && !can_.write_same_unmap) {
    segment.operation = Operation::write_same;
  }
  if (segment.operation == Operation::write_same && can_.write_same == 0) segment.operation = Operation::write_zeroes;
}

}  // namespace nbdgw::bridge
