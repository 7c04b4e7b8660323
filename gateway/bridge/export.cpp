#include "gateway/bridge/export.hpp"

#include <algorithm>
#include <utility>

#include "gateway/bridge/task_builder.hpp"
#include "proto/assert.hpp"

/// The way of a request, from the protocol engine through the fence and the tasks to the reply.
namespace nbdgw::bridge {

const char* to_string(ExportState state) noexcept {
  switch (state) {
    case ExportState::offline:
      return "offline";
    case ExportState::probing:
      return "probing";
    case ExportState::online:
      return "online";
    case ExportState::refused:
      return "refused";
  }
  return "unknown";
}

namespace {

using proto::nbd::Command;
using proto::nbd::Error;

IoRequest& io(nbd::Request& request) noexcept {
  return static_cast<IoRequest&>(request);
}
Segment& own(nbd::Segment& segment) noexcept {
  return static_cast<Segment&>(segment);
}

}  // namespace

IoRequest& IoRequest::from(Fence::Entry& entry) noexcept {
  return *boost::intrusive::get_parent_from_member<IoRequest>(&entry, &IoRequest::fence);
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
  if (io(request).active == 0) return free_request(io(request));
  // Answered early: the rest runs to its end like that of a client who went away.
  io(request).connection = nullptr;
  io(request).abandoned = true;
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
  if (stuck_) {
    const bool at_once = fails_now() || config_.hold_timeout == proto::kNever;
    stuck_at_ = std::min(stuck_at_, at_once ? request.arrived_at : request.arrived_at + config_.hold_timeout);
  }
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
  if (request.early && request.not_received == 0 && !request.abandoned &&
      request.progress < IoRequest::State::finished) {
    finish(request);
  }
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
    // Else the rest of the payload still needs its place, or it was answered early.
    if (request.not_received == 0 && request.progress < IoRequest::State::finished) finish(request);
    return;
  }
  if (request.cached_at != CacheLedger::kNothingCached) {
    conclude_cached_write(request);
  } else {
    finish(request);  // a READ, or on stable storage
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
    if (auto* const durations = counters_.durations.of(request.header.command))
      durations->add(now - request.arrived_at);
    replies.finish(request, request.error, request.text);
  }
}

}  // namespace nbdgw::bridge
