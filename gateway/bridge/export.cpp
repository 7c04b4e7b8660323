#include "gateway/bridge/export.hpp"

#include <algorithm>
#include <utility>

#include "gateway/bridge/task_builder.hpp"
#include "proto/assert.hpp"

namespace nbdgw::bridge {

namespace {

using proto::nbd::Command;
using proto::nbd::Error;

IoRequest& io(nbd::Request& request) noexcept {
  return static_cast<IoRequest&>(request);
}
Segment& own(nbd::Segment& segment) noexcept {
  return static_cast<Segment&>(segment);
}

std::uint64_t end_of(const IoRequest& request) noexcept {
  return request.header.offset + request.header.length;
}

}  // namespace

IoRequest& IoRequest::from(Fence::Entry& entry) noexcept {
  return *boost::intrusive::get_parent_from_member<IoRequest>(&entry, &IoRequest::fence);
}

// ---- Admission ----

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
  request->fua = (header.flags & proto::nbd::kCmdFlagFua) != 0;
  request->fua_bit = request->fua && can_.cache && can_.fua_bit && header.command == Command::write;
  request->text = nullptr;
  request->error = Error::none;
  request->first_segment = request->last_segment = request->next_to_fill = nullptr;
  request->active = request->not_received = 0;
  request->cursor = request->range_end = 0;

  bool room = true;
  switch (header.command) {
    case Command::read:
      room = reserve_parts(*request);
      break;
    case Command::write:
      room = reserve_parts(*request);
      break;
    case Command::trim:
      room = reserve_slots(*request);
      break;
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

// ---- What the protocol engine tells ----

nbd::Segment* Export::next_write_segment(nbd::Request& request) {
  Segment* const segment = io(request).next_to_fill;
  NBDGW_ASSERT(segment != nullptr, "a WRITE has segments for its whole payload");
  io(request).next_to_fill = segment->sibling;
  return segment;
}

void Export::segment_received(nbd::Request& nbd_request, nbd::Segment& nbd_segment, proto::Micros now) {
  IoRequest& request = io(nbd_request);
  Segment& segment = own(nbd_segment);
  NBDGW_ASSERT(segment.progress == Segment::State::filling && request.not_received > 0, "a segment is filled once");
  --request.not_received;
  segment.progress = Segment::State::received;
  if (request.error != Error::none) {
    segment.progress = Segment::State::done;
    free_memory(segment);
    conclude(request);
  } else if (request.progress == IoRequest::State::admitted) {
    // Only now: a client that has not sent anything yet must not stand in the way of others.
    if (begins_fenced(request, widen(request.header.offset, request.header.length, can_.block))) run(request);
  } else if (request.progress == IoRequest::State::running) {
    launch(segment, first_write_step(segment));
  }
  pump(now);
}

void Export::start(nbd::Request& nbd_request, proto::Micros now) {
  IoRequest& request = io(nbd_request);
  NBDGW_ASSERT(request.progress == IoRequest::State::admitted, "a request begins once");
  if (request.error != Error::none) {
    finish(request);
    return;
  }
  switch (request.header.command) {
    case Command::read:
      run(request);
      break;
    case Command::flush:
      join_flush(request);
      break;
    case Command::trim: {
      const BlockRange range = trim_range(request.header.offset, request.header.length);
      request.cursor = range.first * can_.block;
      request.range_end = range.end * can_.block;
      if (can_.unmap == 0 || range.empty()) {
        finish(request);  // a hint: success without effect
      } else if (begins_fenced(request, range)) {
        run(request);
      }
      break;
    }
    default:
      if (begins_fenced(request, widen(request.header.offset, request.header.length, can_.block))) run(request);
      break;
  }
  pump(now);
}

void Export::release(nbd::Request&, nbd::Segment& segment) {
  free_memory(own(segment));
}

void Export::release(nbd::Request& request) {
  NBDGW_ASSERT(io(request).progress == IoRequest::State::answered, "a request is released after its reply");
  free_request(io(request));
}

void Export::abandon(nbd::Request& nbd_request) {
  IoRequest& request = io(nbd_request);
  NBDGW_ASSERT(!request.abandoned, "a request is abandoned once");
  request.connection = nullptr;
  request.abandoned = true;
  ++counters_.abandoned;
  if (request.progress == IoRequest::State::flushing) leave_flush(request);
  for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    segment->done_hook.unlink();
  }
  drop_unsent(request);
  conclude(request);
}

// ---- The way of a request ----

/// True: it may run now. False: it waits for the fence, and run() comes later.
bool Export::begins_fenced(IoRequest& request, BlockRange range) {
  if (fence_.enter(request.fence, range.first, range.end)) return true;
  request.progress = IoRequest::State::fenced;
  ++counters_.fenced;
  return false;
}

void Export::run(IoRequest& request) {
  request.progress = IoRequest::State::running;
  switch (request.header.command) {
    case Command::read:
      for (Segment* s = request.first_segment; s != nullptr; s = s->sibling) launch(*s, Step::read);
      break;
    case Command::write:
      for (Segment* s = request.first_segment; s != nullptr; s = s->sibling) {
        if (s->progress == Segment::State::received) launch(*s, first_write_step(*s));
      }
      break;
    default:
      feed(request);
      conclude(request);
      break;
  }
}

void Export::launch(Segment& segment, Step step) {
  segment.progress = Segment::State::active;
  segment.step = step;
  segment.attempts = {};
  ++segment.request->active;
  queue_.push_back(segment);
}

/// A segment's tasks have come to their end: all of it is done, or (not good) no more will be.
void Export::settle(Segment& segment, bool good) {
  IoRequest& request = *segment.request;
  --request.active;
  segment.step = Step::none;
  segment.progress = Segment::State::done;
  switch (request.header.command) {
    case Command::read:
      if (good && request.error == Error::none && !request.abandoned) {
        place_payload(segment, segment.offset - segment.lba * can_.block, segment.length);
        done_segments_.push_back(segment);
      } else {
        free_memory(segment);
      }
      break;
    case Command::write:
      free_memory(segment);
      break;
    default:
      segment.progress = Segment::State::spare;
      feed(request);
      break;
  }
  conclude(request);
}

/// Goes on with a request that may have nothing more to wait for.
void Export::conclude(IoRequest& request) {
  const bool over = request.error != Error::none || request.abandoned;
  if (request.active > 0 || (!over && (request.not_received > 0 || request.cursor < request.range_end))) return;
  if (request.fence.state() != Fence::State::outside) {
    // Nothing of it is with the target any more: every task's end has been told.
    fence_.leave(request.fence, [this](Fence::Entry& entry) { run(IoRequest::from(entry)); });
  }
  if (request.abandoned) {
    free_request(request);
    return;
  }
  if (request.error != Error::none) {
    if (request.not_received == 0) finish(request);  // else the rest of the payload still needs its place
    return;
  }
  if (request.header.command == Command::read || !can_.cache || request.fua_bit) {
    finish(request);
  } else if (request.fua) {
    join_flush(request);
  } else {
    flush_.count_write();
    finish(request);
  }
}

/// The first error of a request is the one that it is answered with.
void Export::fail(IoRequest& request, Error error, const char* text) {
  if (request.error != Error::none) return;
  request.error = error;
  request.text = text;
}

void Export::finish(IoRequest& request) {
  request.progress = IoRequest::State::finished;
  finished_.push_back(request);
  if (request.error != Error::none) {
    ++counters_.failed;
  } else if (request.header.command == Command::read) {
    counters_.bytes_read += request.header.length;
  } else if (request.header.command == Command::write) {
    counters_.bytes_written += request.header.length;
  }
}

void Export::deliver(Replies& replies, proto::Micros now) {
  pump(now);
  // The protocol engine may release or abandon any request while it is told of one: take one at a time.
  while (!done_segments_.empty()) {
    Segment& segment = done_segments_.front();
    done_segments_.pop_front();
    replies.segment_done(*segment.request, segment);
  }
  while (!finished_.empty()) {
    IoRequest& request = finished_.front();
    finished_.pop_front();
    request.progress = IoRequest::State::answered;
    replies.finish(request, request.error, request.text);
  }
}

// ---- The end ----

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
