#include "gateway/bridge/errors.hpp"
#include "gateway/bridge/export.hpp"
#include "gateway/bridge/task_builder.hpp"
#include "proto/assert.hpp"

/// Sending tasks, and what their ends lead to.
namespace nbdgw::bridge {

using device::Action;
using device::CommandKind;
using proto::nbd::Error;

namespace {

CommandKind kind_of(const Task& task) noexcept {
  if (task.role == Task::Role::flush) return CommandKind::flush;
  switch (static_cast<const Segment&>(task).step) {
    case Step::read:
    case Step::head_read:
    case Step::tail_read:
    case Step::edge_read:
      return CommandKind::read;
    case Step::write:
    case Step::edge_write:
    case Step::write_zeroes:
      return CommandKind::write;
    case Step::write_same:
    case Step::write_same_unmap:
      return CommandKind::write_same;
    case Step::unmap:
      return CommandKind::unmap;
    case Step::none:
      break;
  }
  return CommandKind::other;
}

}  // namespace

/// Sends what may be sent.
void Export::pump(proto::Micros now) {
  if (fails_now()) {
    fail_held();
    return;
  }
  if (state_ != ExportState::online) return;
  while (Task* const task = queue_.lend()) send(*task, now);
}

void Export::send(Task& task, proto::Micros now) {
  if (task.role == Task::Role::segment) {
    Segment& segment = static_cast<Segment&>(task);
    revise_step(segment);
    if (segment.step == Step::none) {
      queue_.returned(task);
      return settle(segment, true);
    }
  }
  task.known = cache_.known();
  if (task.role == Task::Role::flush) {
    flush_.cover_all();
    cache_.flush_begins();
    prepare_flush(task, can_);
  } else {
    Segment& segment = static_cast<Segment&>(task);
    prepare(segment, can_, segment.request->fua_bit);
  }
  ++counters_.tasks;
  transport_.queuecommand(task, now);
}

void Export::on_command_done(initiator::ScsiCommand& command, proto::Micros now) {
  Task& task = static_cast<Task&>(command);
  queue_.returned(task);
  task.attempts.attentions_expected = attentions_expected_;
  const device::Disposition disposition = device::decide(command, kind_of(task), task.attempts, config_.retries);
  if (disposition.notes.any()) {
    count_notes(disposition.notes);
    if (means_lost_cache(disposition.notes)) cache_may_be_lost(task.known, device::explain(command));
    look_again(disposition.notes, now);
  }
  if (disposition.short_transfer) {
    ++counters_.short_transfers;
    if (task.role == Task::Role::segment) keep_moved(static_cast<Segment&>(task), disposition.moved);
  }
  // Before all else: what is held may only be sent once the session is back and the LUN was looked at; and so may
  // whatever else waits, even if this command has come back once too often.
  if (command.outcome == initiator::Outcome::transport_disrupted) {
    ++counters_.held;
    if (state_ == ExportState::online || state_ == ExportState::probing) {
      enter(ExportState::offline, "the session with the target was lost", now);
    }
  }

  const bool wanted = task.role == Task::Role::flush ? flush_.wanted()
                                                     : !static_cast<Segment&>(task).request->abandoned &&
                                                           static_cast<Segment&>(task).request->error == Error::none;
  const bool over = disposition.action == Action::done || disposition.action == Action::error;
  if (over) {
    task_over(task, disposition);
  } else if (!wanted) {
    // The target has forgotten it, and nobody needs it any more.
    if (task.role == Task::Role::segment) settle(static_cast<Segment&>(task), false);
  } else if (disposition.action == Action::retry_later) {
    ++counters_.retries_delayed;
    queue_.delay(task, now + disposition.delay);
  } else {
    if (disposition.action == Action::retry_now) ++counters_.retries_at_once;
    queue_.push_front(task);
  }
  pump(now);
}

/// A command has moved less than it should. What it has moved for sure is not sent again, if it is whole blocks.
void Export::keep_moved(Segment& segment, std::uint32_t bytes) noexcept {
  if (bytes == 0 || bytes % can_.block != 0) return;
  note_cached(segment);
  segment.blocks_done += bytes / can_.block;
  NBDGW_ASSERT(segment.blocks_done < segment.blocks, "a shortfall leaves something to do");
}

/// The command has done what it should, or has failed for good.
void Export::task_over(Task& task, const device::Disposition& disposition) {
  const bool good = disposition.action == Action::done;
  const Error error = to_nbd(disposition.error);
  const char* const text = good ? nullptr : explain_briefly(task, disposition.error);
  if (good) queue_.count_good();
  const bool refused = disposition.error == device::Error::unsupported;
  if (refused) ++counters_.refusals;
  if (task.role == Task::Role::flush) {
    ++counters_.flush_tasks;
    if (!refused || !flush_falls_back()) flush_over(error, text);
    return;
  }

  Segment& segment = static_cast<Segment&>(task);
  const IoRequest& request = *segment.request;
  const bool stopped = request.abandoned || request.error != Error::none;
  if (good) {
    note_cached(segment);
    if (stopped) return settle(segment, false);
    return segment_good(segment);
  }
  if (!refused || !falls_back(segment)) return task_failed(task, error, text);
  if (stopped || segment.step == Step::none) return settle(segment, !stopped);
  segment.attempts = {};
  queue_.push_front(segment);
}

/// A task ends with an error, sent or not. The request's other tasks that are not with the target are not sent.
void Export::task_failed(Task& task, Error error, const char* text) {
  if (task.role == Task::Role::flush) {
    flush_.cover_all();
    flush_over(error, text);
    return;
  }
  Segment& segment = static_cast<Segment&>(task);
  fail(*segment.request, error, text);
  drop_unsent(*segment.request);
  settle(segment, false);
}

void Export::drop_unsent(IoRequest& request) noexcept {
  for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    if (segment->progress == Segment::State::received) {
      segment->progress = Segment::State::done;
      free_memory(*segment);
    }
    if (segment->progress != Segment::State::active) continue;
    if (segment->state != Task::State::ready && segment->state != Task::State::delayed) continue;
    queue_.remove(*segment);
    segment->progress = Segment::State::done;
    --request.active;
  }
}

/// There is no path, and will be none soon enough: whoever waits for it gets an error.
void Export::fail_held() {
  const char* const text = state_ == ExportState::refused
                               ? "the LUN must not be used: it is another disk, or smaller than it was"
                               : "no path to the target";
  while (Task* const task = queue_.take()) task_failed(*task, Error::eio, text);
}

}  // namespace nbdgw::bridge
