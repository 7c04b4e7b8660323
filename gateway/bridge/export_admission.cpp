#include <algorithm>

#include "gateway/bridge/export.hpp"
#include "gateway/bridge/task_builder.hpp"
#include "proto/assert.hpp"

/// What a request needs, taken all at once before it begins, and given back at its end.
namespace nbdgw::bridge {

using proto::nbd::Command;
using proto::nbd::Error;

namespace {

std::uint64_t end_of(const IoRequest& request) noexcept {
  return request.header.offset + request.header.length;
}

}  // namespace

nbd::Request* Export::admit(const nbd::RequestHeader& header, nbd::Connection& connection, proto::Micros now) {
  NBDGW_ASSERT(known_, "no request before the export was online");
  IoRequest* const request = requests_.take();
  if (request == nullptr) {
    ++counters_.no_room;
    return nullptr;
  }
  request->header = header;
  request->connection = &connection;
  request->segments = nullptr;
  request->arrived_at = now;
  request->progress = IoRequest::State::admitted;
  request->abandoned = false;
  request->early = false;
  request->fua = (header.flags & proto::nbd::kCmdFlagFua) != 0;
  request->fua_bit = request->fua && can_.cache && can_.fua_bit && header.command == Command::write;
  request->text = nullptr;
  request->error = Error::none;
  request->cached_at = CacheLedger::kNothingCached;
  request->first_segment = request->last_segment = request->next_to_fill = nullptr;
  request->active = request->not_received = 0;
  request->cursor = request->range_end = 0;

  bool room = true;
  switch (header.command) {
    case Command::read:
    case Command::write:
      room = reserve_parts(*request);
      break;
    case Command::trim:
    case Command::write_zeroes:
      room = reserve_slots(*request);
      break;
    default:
      break;
  }
  if (!room) {
    ++counters_.no_room;
    free_segments(*request);
    requests_.give_back(*request);
    return nullptr;
  }
  switch (header.command) {
    case Command::read:
      ++counters_.reads;
      break;
    case Command::write:
      ++counters_.writes;
      break;
    case Command::trim:
      ++counters_.trims;
      break;
    case Command::write_zeroes:
      ++counters_.write_zeroes;
      break;
    case Command::flush:
      ++counters_.flushes;
      break;
    default:
      fail(*request, Error::einval, "command not supported");
      break;
  }
  if (draining_) fail(*request, Error::eshutdown, "the gateway is shutting down");
  return request;
}

bool Export::reserve_parts(IoRequest& request) {
  const bool write = request.header.command == Command::write;
  const std::uint64_t end = end_of(request);
  // The answer is known early when there is little left: do not take everything apart only to give it back.
  if (part_count(request.header.offset, end, can_.block, can_.part) > segments_.available()) return false;
  if (request.header.length > pool_.capacity() - pool_.used()) return false;

  for (std::uint64_t at = request.header.offset; at < end;) {
    const std::uint64_t next = part_end(at, end, can_.block, can_.part);
    const BlockRange range = widen(at, next - at, can_.block);
    Segment* const segment = add_segment(request, range.count() * can_.block);
    if (segment == nullptr) return false;
    segment->offset = at;
    segment->length = static_cast<std::uint32_t>(next - at);
    segment->lba = range.first;
    segment->blocks = range.count();
    place_payload(*segment, at - range.first * can_.block, segment->length);
    if (write) {
      segment->progress = Segment::State::filling;
      ++request.not_received;
      if (first_write_step(*segment) != Step::write) {
        segment->discard_count = static_cast<std::uint8_t>(pool_.allocate(can_.block, segment->discard));
        if (segment->discard_count == 0) return false;
      }
    }
    at = next;
  }
  if (write) {
    request.next_to_fill = request.first_segment;
  } else {
    request.segments = request.first_segment;
  }
  return true;
}

bool Export::reserve_slots(IoRequest& request) {
  request.cursor = request.header.offset;
  request.range_end = end_of(request);
  const bool zeroes = request.header.command == Command::write_zeroes;
  // The first slot has the memory of one block, for a block that is zeroed in part. It alone must be had.
  const bool edges = zeroes && (request.cursor % can_.block != 0 || request.range_end % can_.block != 0);
  if (add_segment(request, edges ? can_.block : 0) == nullptr) return false;
  // More only as far as there are slices for them. WRITE SAME may turn into zero writes, with smaller slices.
  const std::uint64_t limit = (zeroes ? can_.write_same : can_.unmap) * can_.block;
  const std::uint64_t slice = limit == 0 ? kMaxPart : zeroes ? std::min<std::uint64_t>(limit, kMaxPart) : limit;
  const std::uint64_t useful = std::min<std::uint64_t>(kRangeTasks, request.header.length / slice + 1);
  for (std::uint64_t slots = 1; slots < useful; ++slots) {
    if (add_segment(request, 0) == nullptr) break;
  }
  return true;
}

/// Takes a segment, with memory if asked for, and adds it to the request. nullptr: no room; what the request has
/// already is freed with it.
Segment* Export::add_segment(IoRequest& request, std::uint64_t bytes_of_memory) {
  Segment* const segment = segments_.take();
  if (segment == nullptr) return nullptr;
  segment->request = &request;
  segment->sibling = nullptr;
  segment->nbd::Segment::next = nullptr;
  segment->payload = {};
  segment->progress = Segment::State::spare;
  segment->step = Step::none;
  segment->blocks = segment->blocks_done = segment->task_blocks = 0;
  segment->memory_count = segment->discard_count = 0;
  segment->sink = this;
  if (request.last_segment == nullptr) {
    request.first_segment = segment;
  } else {
    request.last_segment->sibling = segment;
    request.last_segment->nbd::Segment::next = segment;
  }
  request.last_segment = segment;
  if (bytes_of_memory > 0) {
    segment->memory_count = static_cast<std::uint8_t>(pool_.allocate(bytes_of_memory, segment->memory));
    if (segment->memory_count == 0) return nullptr;
  }
  return segment;
}

void Export::free_memory(Segment& segment) noexcept {
  if (segment.memory_count > 0) pool_.release(segment.memory_list());
  if (segment.discard_count > 0) pool_.release(segment.discard_list());
  segment.memory_count = segment.discard_count = 0;
  ++room_;
}

void Export::free_segments(IoRequest& request) noexcept {
  for (Segment* segment = request.first_segment; segment != nullptr;) {
    Segment* const next = segment->sibling;
    NBDGW_ASSERT(segment->state == Task::State::idle, "a segment whose task runs is not freed");
    free_memory(*segment);
    segments_.give_back(*segment);
    segment = next;
  }
  request.first_segment = nullptr;
}

void Export::free_request(IoRequest& request) noexcept {
  request.hook.unlink();
  free_segments(request);
  request.progress = IoRequest::State::free;
  requests_.give_back(request);
  ++room_;
}

}  // namespace nbdgw::bridge
