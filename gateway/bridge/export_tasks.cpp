#include "gateway/bridge/errors.hpp"
#include "gateway/bridge/export.hpp"
#include "gateway/bridge/task_builder.hpp"
#include "proto/assert.hpp"

/// Sending tasks, and what their ends lead to.
namespace nbdgw::bridge {

using device::Action;
using device::CommandKind;
using proto::nbd::Command;
using proto::nbd::Error;

namespace {

CommandKind kind_of(const Task& task) noexcept {
  if (task.role == Task::Role::flush) return CommandKind::flush;
  switch (static_cast<const Segment&>(task).operation) {
    case Operation::read:
    case Operation::head_read:
    case Operation::tail_read:
    case Operation::edge_read:
      return CommandKind::read;
    case Operation::write:
    case Operation::edge_write:
    case Operation::write_zeroes:
      return CommandKind::write;
    case Operation::write_same:
    case Operation::write_same_unmap:
      return CommandKind::write_same;
    case Operation::unmap:
      return CommandKind::unmap;
    case Operation::none:
      break;
  }
  return CommandKind::other;
}

initiator::Proof proof_of(const Task& task) noexcept {
  NBDGW_ASSERT(task.proof.has_value(), "what may be sent again came back with a proof");
  return *task.proof;
}

}  // namespace

/// Sends what may be sent.
void Export::pump(proto::Micros now) {
  if (fails_now()) {
    if (stuck_at_ != proto::kNever) look_at_stuck(now);
    fail_held();
    return;
  }
  if (queue_.ready() == 0 || state_ != ExportState::online || looking_) return;
  // What has a command under way is not taken away (tgtd refuses that), and a look would wait behind its data.
  if (queue_.lent() == 0 && now - heard_at_ > config_.silence && looks_first(now)) return;
  while (Task* const task = queue_.lend()) send(*task, now);
}

/// True: the LUN is asked which disk it is, and the end of that calls pump().
bool Export::looks_first(proto::Micros now) {
  looking_ = unit_.confirm_identity(now);
  if (looking_) ++counters_.looks;
  return looking_;
}

void Export::send(Task& task, proto::Micros now) {
  if (task.role == Task::Role::segment) {
    Segment& segment = static_cast<Segment&>(task);
    revise_operation(segment);
    if (segment.operation == Operation::none) {
      queue_.returned(task);
      return settle(segment, true);
    }
  }
  task.known = disk_->cache.known();
  task.doubts = doubts_;
  if (task.role == Task::Role::flush) {
    flush_.cover_all(disk_->cache);
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
  task.attempts.attentions_expected = power_on_.expected();
  const bool believed = task.doubts == doubts_;
  if (command.outcome == initiator::Outcome::completed) heard_at_ = now;
  note_loss(task, now);
  device::Disposition disposition;
  if (!device::went_well(task)) {
    disposition = device::decide(command, kind_of(task), task.attempts, config_.retries);
    if (disposition.notes.any()) {
      take_notes(disposition.notes, command, task.known, now);
      look_again(disposition.notes, command, now);
    }
  }
  if (!believed) disbelieve(task, disposition);
  if (disposition.short_transfer) {
    ++counters_.short_transfers;
    if (task.role == Task::Role::segment) keep_moved(static_cast<Segment&>(task), disposition.moved);
  }
  // Before all else: what is held may only be sent once the session is back and the LUN was looked at; and so may
  // whatever else waits, even if this command has come back once too often.
  if (command.outcome == initiator::Outcome::transport_disrupted) {
    ++counters_.held;
    // One that was held in the session comes back later, when there is another one.
    const bool news = command.proof->came_with_the_loss();
    if (news && (state_ == ExportState::online || state_ == ExportState::probing)) {
      enter(ExportState::offline, "the session with the target was lost", now);
    }
  }

  const bool wanted = task.role == Task::Role::flush ? flush_.wanted()
                                                     : !static_cast<Segment&>(task).request->abandoned &&
                                                           static_cast<Segment&>(task).request->error == Error::none;
  const bool over = disposition.action == Action::done || disposition.action == Action::error;
  if (over) {
    task_over(task, disposition, now);
  } else if (!wanted) {
    // The target has forgotten it, and nobody needs it any more.
    if (task.role == Task::Role::segment) settle(static_cast<Segment&>(task), false);
  } else if (disposition.action == Action::retry_later) {
    ++counters_.retries_delayed;
    queue_.again(task, proof_of(task), now + disposition.delay);
  } else {
    if (disposition.action == Action::retry_now) ++counters_.retries_at_once;
    queue_.again(task, proof_of(task));
  }
  pump(now);
}

/// One that is under way whenever the session is lost may be what brings it down.
void Export::note_loss(Task& task, proto::Micros now) noexcept {
  if (task.outcome != initiator::Outcome::transport_disrupted || !task.proof->was_sent()) return;
  if (task.lost_at == proto::kNever) task.lost_at = now;
  task.attempts.lost_for = now - task.lost_at;
  if (task.attempts.losses > 0) queue_.begin_carefully();
}

/// Another disk may have come while the command was under way, so nobody knows which one has answered: it is sent
/// again once that is known. Counted as a unit attention, so that it ends even if the target reports such changes for
/// ever.
void Export::disbelieve(Task& task, device::Disposition& disposition) noexcept {
  disposition.moved = 0;
  const bool over = disposition.action == Action::done || disposition.action == Action::error;
  if (!over || task.outcome != initiator::Outcome::completed) return;
  ++counters_.disbelieved;
  const bool enough = task.attempts.unit_attentions >= device::kMaxUnitAttentions;
  if (!enough) ++task.attempts.unit_attentions;
  disposition.action = enough ? Action::error : Action::hold;
  disposition.error = enough ? device::Error::io : device::Error::none;
}

/// A command has moved less than it should. What it has moved for sure is not sent again, if it is whole blocks.
void Export::keep_moved(Segment& segment, std::uint32_t bytes) noexcept {
  if (bytes == 0 || bytes % can_.block != 0) return;
  note_cached(segment);
  segment.blocks_done += bytes / can_.block;
  NBDGW_ASSERT(segment.blocks_done < segment.blocks, "a shortfall leaves something to do");
}

/// The command has done what it should, or has failed for good.
void Export::task_over(Task& task, const device::Disposition& disposition, proto::Micros now) {
  const bool good = disposition.action == Action::done;
  if (good) queue_.count_good(now);
  if (good && task.role == Task::Role::segment) return segment_over(static_cast<Segment&>(task));
  const Error error = to_nbd(disposition.error);
  const char* const text = good ? nullptr : explain_briefly(task, disposition.error);
  const bool refused = disposition.error == device::Error::unsupported;
  if (refused) ++counters_.refusals;
  if (task.role == Task::Role::flush) {
    ++counters_.flush_tasks;
    if (!good && !refused && task.doubts == doubts_) note_failed_flush(task);
    if (!refused || !flush_falls_back()) flush_over(error, text, &task);
    return;
  }

  Segment& segment = static_cast<Segment&>(task);
  const IoRequest& request = *segment.request;
  const bool stopped = request.abandoned || request.error != Error::none;
  if (!refused || !falls_back(segment, now)) return task_failed(task, error, text, true);
  if (stopped || segment.operation == Operation::none) return settle(segment, !stopped);
  segment.begin_anew();
  queue_.push_front(segment);
}

/// A command of a segment has done what it should.
void Export::segment_over(Segment& segment) {
  note_cached(segment);
  const IoRequest& request = *segment.request;
  if (request.abandoned || request.error != Error::none) return settle(segment, false);
  segment_good(segment);
}

/// A task ends with an error; not `sent`: without having been with the target. The request's other tasks that are not
/// there are not sent.
void Export::task_failed(Task& task, Error error, const char* text, bool sent) {
  if (task.role == Task::Role::flush) {
    flush_.cover_all(disk_->cache);
    flush_over(error, text);
    return;
  }
  Segment& segment = static_cast<Segment&>(task);
  fail(*segment.request, error, text, sent ? &task : nullptr);
  drop_unsent(*segment.request);
  settle(segment, false);
}

/// What of the request is not with the target will not be.
void Export::drop_unsent(IoRequest& request) {
  for (Segment *segment = request.first_segment, *next = nullptr; segment != nullptr; segment = next) {
    next = segment->sibling;
    if (segment->phase == Segment::Phase::fenced) {
      --request.fenced;
    } else if (segment->phase == Segment::Phase::active &&
               (segment->place == Task::Place::ready || segment->place == Task::Place::delayed)) {
      queue_.remove(*segment);
      --request.active;
    } else {
      continue;
    }
    segment->phase = Segment::Phase::done;
    if (request.header.command != Command::write) continue;
    leave_fence(segment->fence);
    drop_segment(request, *segment);
  }
}

/// There is no path, and will be none soon enough: whoever waits for it gets an error.
void Export::fail_held() {
  const char* const text = state_ == ExportState::refused
                               ? "the LUN must not be used: the state of the export says why"
                               : "no path to the target";
  while (Task* const task = queue_.take()) task_failed(*task, Error::eio, text, false);
}

}  // namespace nbdgw::bridge
