#include "gateway/bridge/export.hpp"

#include <algorithm>
#include <utility>

#include "gateway/bridge/command_builder.hpp"
#include "gateway/bridge/errors.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// The way of a request, from the protocol engine through the fence and the commands to the reply.
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

// ---- What the protocol engine tells ----

void Export::segment_received(nbd::Request& nbd_request, nbd::Segment& nbd_segment, proto::Micros now) {
  IoRequest& request = io(nbd_request);
  Segment& segment = own(nbd_segment);
  NBDGW_ASSERT(segment.phase == Segment::Phase::filling && request.filling, "a segment is filled once");
  request.filling = false;
  if (request.error != Error::none) {
    drop_segment(request, segment);
    conclude(request);
  } else {
    request.phase = IoRequest::Phase::running;
    segment.phase = Segment::Phase::fenced;
    segment.fence.request = &request;
    segment.fence.segment = &segment;
    ++request.fenced;
    // Only now: what a client has not sent must not stand in the way of others.
    if (enters_fence(segment.fence, {segment.lba, segment.lba + segment.blocks})) run_part(segment);
  }
  pump(now);
}

void Export::start(nbd::Request& nbd_request, proto::Micros now) {
  IoRequest& request = io(nbd_request);
  NBDGW_ASSERT(request.phase == IoRequest::Phase::admitted, "a request begins once");
  request.telling = LossTold::no;
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
      } else {
        run_fenced(request, range);
      }
      break;
    }
    default:
      run_fenced(request, widen(request.header.offset, request.header.length, can_.block));
      break;
  }
  pump(now);
}

void Export::release(nbd::Request& nbd_request, nbd::Segment& segment) {
  IoRequest& request = io(nbd_request);
  if (request.cursor < request.range_end && request.error == Error::none) return read_on(request, own(segment));
  free_memory(own(segment));
}

void Export::release(nbd::Request& request) {
  NBDGW_ASSERT(io(request).phase == IoRequest::Phase::answered, "a request is released after its reply");
  if (request.header.command == Command::flush) note_heard(io(request));
  if (io(request).active == 0) return free_request(io(request));
  leave_stake(io(request));  // answered early: the rest runs to its end like that of a client who went away
}

void Export::abandon(nbd::Request& nbd_request) {
  IoRequest& request = io(nbd_request);
  NBDGW_ASSERT(!request.abandoned, "a request is abandoned once");
  leave_stake(request);
  ++counters_.abandoned;
  if (request.phase == IoRequest::Phase::flushing) leave_flush(request);
  for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    segment->done_hook.unlink();
  }
  drop_unsent(request);
  if (NBDGW_MUTANT(abandoned_leaves_fence)) {
    for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling)
      leave_fence(segment->fence);
  }
  conclude(request);
}

// ---- The way of a request ----

/// True: it may run now. False: it waits, and go_on() comes later.
bool Export::enters_fence(FencedRange& place, BlockRange range) {
  if (disk_->fence.enter(place, range.first, range.end)) return true;
  if (disk_->stuck_exports > 0) {
    const proto::Micros since = place.request->arrived_at;
    const bool at_once = fails_now() || config_.hold_timeout == proto::kNever;
    stuck_at_ = std::min(stuck_at_, at_once ? since : since + config_.hold_timeout);
    bell_.ring();
  }
  ++counters_.fenced;
  return false;
}

/// A TRIM or WRITE_ZEROES begins, or waits for the fence.
void Export::run_fenced(IoRequest& request, BlockRange range) {
  request.fence.request = &request;
  if (enters_fence(request.fence, range)) {
    run(request);
  } else {
    request.phase = IoRequest::Phase::fenced;
  }
}

void Export::leave_fence(FencedRange& place) {
  if (place.state() == Fence::State::outside) return;
  disk_->fence.leave(place, [this](Fence::Entry& entry) { go_on(FencedRange::from(entry)); });
}

/// The fence has let it go, maybe out of a step of another export of the same disk, which then hears of it by its own
/// bell.
void Export::go_on(FencedRange& place) {
  Export& owner = *place.request->owner;
  place.segment != nullptr ? owner.run_part(*place.segment) : owner.run(*place.request);
}

/// A part of a WRITE.
void Export::run_part(Segment& segment) {
  --segment.request->fenced;
  launch(segment, segment.discard_count == 0 ? Operation::write : first_write_operation(segment));
}

void Export::run(IoRequest& request) {
  request.phase = IoRequest::Phase::running;
  if (request.header.command == Command::read) {
    for (Segment* s = request.first_segment; s != nullptr; s = s->sibling) launch(*s, Operation::read);
  } else {
    feed(request);
    conclude(request);
  }
}

void Export::launch(Segment& segment, Operation operation) {
  segment.phase = Segment::Phase::active;
  segment.operation = operation;
  segment.begin_anew();
  ++segment.request->active;
  queue_.push_back(segment);
  if (!NBDGW_MUTANT(launch_rings_no_bell)) bell_.ring();
}

/// A segment's commands have come to their end: all of it is done, or (not good) no more will be.
void Export::settle(Segment& segment, bool good) {
  IoRequest& request = *segment.request;
  --request.active;
  segment.operation = Operation::none;
  segment.phase = Segment::Phase::done;
  switch (request.header.command) {
    case Command::read:
      if (good && request.error == Error::none && !request.abandoned) {
        place_payload(segment, segment.offset - segment.lba * can_.block, segment.length);
        done_segments_.push_back(segment);
        bell_.ring();
      } else {
        free_memory(segment);
      }
      break;
    case Command::write:
      leave_fence(segment.fence);
      drop_segment(request, segment);
      break;
    default:
      segment.phase = Segment::Phase::spare;
      feed(request);
      break;
  }
  conclude(request);
}

/// Goes on with a request that may have nothing more to wait for.
void Export::conclude(IoRequest& request) {
  if (request.early && !request.filling && !request.abandoned && request.phase < IoRequest::Phase::finished) {
    finish(request);
  }
  const bool over = request.error != Error::none || request.abandoned;
  if (request.active > 0) return;
  if (!over && (request.filling || request.fenced > 0 || request.cursor < request.range_end)) return;
  leave_fence(request.fence);  // nothing of it is with the target any more: every command's end has been told
  if (request.abandoned) {
    free_request(request);
    return;
  }
  if (request.error != Error::none) {
    // Else payload is on its way into its memory, or it was answered early.
    if (!request.filling && request.phase < IoRequest::Phase::finished) finish(request);
    return;
  }
  if (request.cached_at != CacheLedger::kNothingCached) {
    conclude_cached_write(request);
  } else {
    finish(request);  // a READ, or on stable storage
  }
}

/// The first error of a request is the one that it is answered with. `command`: whose end it comes from; null: of
/// none.
void Export::fail(IoRequest& request, Error error, const char* text, const DiskCommand* command) {
  if (request.error != Error::none) return;
  request.error = error;
  request.text = text;
  if (request.abandoned) return;  // nobody is told
  RequestFailure failure = failure_of(request.header, error, text);
  if (command != nullptr) add_command(*command, failure);
  failures_.note(failure);
  bell_.ring();
}

RequestFailure Export::failure_of(const nbd::RequestHeader& header, Error error, const char* text) const noexcept {
  RequestFailure failure;
  failure.lun = config_.lun;
  failure.request = header.command;
  failure.offset = header.offset;
  failure.length = header.length;
  failure.lba = can_.block == 0 ? 0 : header.offset / can_.block;
  failure.error = error;
  failure.text = text;
  return failure;
}

void Export::refused(const nbd::RequestHeader& header, Error error, const char* text) {
  failures_.note(failure_of(header, error, text));
  bell_.ring();
}

void Export::finish(IoRequest& request) {
  request.phase = IoRequest::Phase::finished;
  finished_.push_back(request);
  bell_.ring();
  if (request.error != Error::none) {
    ++counters_.failed;
  } else if (request.header.command == Command::read) {
    counters_.bytes_read += request.header.length;
  } else if (request.header.command == Command::write) {
    counters_.bytes_written += request.header.length;
  }
}

bool Export::wants_turn() const noexcept {
  if (!done_segments_.empty() || !finished_.empty() || has_events() || has_failures() || has_news()) return true;
  if (stuck_seen_ != disk_->stuck_changes) return true;
  if (fails_now()) return queue_.ready() + queue_.delayed() > 0;
  return state_ == ExportState::online && !looking_ && queue_.could_lend();
}

void Export::deliver(Replies& replies, proto::Micros now) {
  if (stuck_seen_ != disk_->stuck_changes) look_at_stuck(now);
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
    request.phase = IoRequest::Phase::answered;
    if (auto* const durations = counters_.durations.of(request.header.command))
      durations->add(now - request.arrived_at);
    replies.finish(request, request.error, request.text);
  }
}

}  // namespace nbdgw::bridge
