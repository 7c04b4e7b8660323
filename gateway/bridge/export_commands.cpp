#include "gateway/bridge/command_builder.hpp"
#include "gateway/bridge/errors.hpp"
#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// Sending commands, and what their ends lead to.
namespace nbdgw::bridge {

using device::Action;
using device::CommandKind;
using proto::nbd::Command;
using proto::nbd::Error;

namespace {

CommandKind kind_of(const DiskCommand& command) noexcept {
  if (command.role == DiskCommand::Role::flush) return CommandKind::flush;
  switch (static_cast<const Segment&>(command).operation) {
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

initiator::Proof proof_of(const DiskCommand& command) noexcept {
  NBDGW_ASSERT(command.proof.has_value(), "what may be sent again came back with a proof");
  return *command.proof;
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
  if (queue_.under_way() == 0 && now - heard_at_ > config_.silence && looks_first(now)) return;
  while (DiskCommand* const command = queue_.lend()) send(*command, now);
}

/// True: the LUN is asked which disk it is, and the end of that calls pump().
bool Export::looks_first(proto::Micros now) {
  looking_ = !NBDGW_MUTANT(silence_trusted) && unit_.confirm_identity(now);
  if (looking_) ++counters_.looks;
  return looking_;
}

void Export::send(DiskCommand& command, proto::Micros now) {
  if (command.role == DiskCommand::Role::segment) {
    Segment& segment = static_cast<Segment&>(command);
    revise_operation(segment);
    if (segment.operation == Operation::none) {
      queue_.returned(command);
      return settle(segment, true);
    }
  }
  command.known = disk_->cache.known();
  command.doubts = doubts_;
  if (command.role == DiskCommand::Role::flush) {
    flush_.cover_all(disk_->cache);
    prepare_flush(command, can_);
  } else {
    Segment& segment = static_cast<Segment&>(command);
    prepare(segment, can_, segment.request->fua_bit && !NBDGW_MUTANT(fua_bit_lost));
  }
  ++counters_.commands;
  if (record_ != nullptr && !initiator::writes_nothing(command)) ++record_->writing;
  transport_.queuecommand(command, now);
}

void Export::on_command_done(initiator::ScsiCommand& done, proto::Micros now) {
  DiskCommand& command = static_cast<DiskCommand&>(done);
  queue_.returned(command);
  command.attempts.attentions_expected = power_on_.expected();
  const bool believed = command.doubts == doubts_ || NBDGW_MUTANT(answers_of_before_believed);
  if (command.outcome == initiator::Outcome::completed) heard_at_ = now;
  if (command.outcome == initiator::Outcome::path_lost && command.started_at != initiator::ScsiCommand::kNotStarted) {
    writes_left_ = writes_left_ || !initiator::writes_nothing(command);
  } else if (record_ != nullptr && !initiator::writes_nothing(command) && record_->writing > 0) {
    --record_->writing;
  }
  note_loss(command, now);
  const device::Attempts before = command.attempts;
  device::Disposition disposition;
  if (!device::went_well(command)) {
    disposition = device::decide(command, kind_of(command), command.attempts, config_.retries);
    // Also where another disk may have answered: it is sent again, and ends well then, of an empty cache.
    if (command.role == DiskCommand::Role::flush && disposition.action == Action::error) note_failed_flush(command);
    if (disposition.notes.any()) {
      take_notes(disposition.notes, command, command.known, now);
      look_again(disposition.notes, command, now);
    }
  }
  if (!believed) disbelieve(command, disposition, before);
  if (disposition.short_transfer) take_shortfall(command, disposition, before);
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

  const bool wanted = command.role == DiskCommand::Role::flush
                          ? flush_.wanted()
                          : !static_cast<Segment&>(command).request->abandoned &&
                                static_cast<Segment&>(command).request->error == Error::none;
  const bool over = disposition.action == Action::done || disposition.action == Action::error;
  if (over) {
    command_over(command, disposition, now);
  } else if (!wanted) {
    // The target has forgotten it, and nobody needs it any more.
    if (command.role == DiskCommand::Role::segment) settle(static_cast<Segment&>(command), false);
  } else if (disposition.action == Action::retry_later) {
    ++counters_.retries_delayed;
    queue_.again(command, proof_of(command), now + disposition.delay);
  } else {
    if (disposition.action == Action::retry_now) ++counters_.retries_at_once;
    queue_.again(command, proof_of(command));
  }
  pump(now);
}

/// One that is under way whenever the session is lost may be what brings it down.
void Export::note_loss(DiskCommand& command, proto::Micros now) noexcept {
  if (command.outcome != initiator::Outcome::transport_disrupted) return;
  if (!command.proof->was_sent() || command.lost_by_us) return;
  if (command.lost_at == proto::kNever) command.lost_at = now;
  command.attempts.lost_for = now - command.lost_at;
  if (command.attempts.losses == 0 || NBDGW_MUTANT(brings_others_down)) return;
  command.alone = true;
  queue_.begin_carefully();
}

/// Another disk may have come while the command was under way, so nobody knows which one has answered: it is sent
/// again once that is known, and what it has answered counts for no retry (`before`: those so far). Counted as a unit
/// attention, so that it ends even if the target reports such changes for ever.
void Export::disbelieve(DiskCommand& command, device::Disposition& disposition,
                        const device::Attempts& before) noexcept {
  disposition.moved = 0;
  const bool over = disposition.action == Action::done || disposition.action == Action::error;
  if ((!over && !disposition.short_transfer) || command.outcome != initiator::Outcome::completed) return;
  ++counters_.disbelieved;
  command.attempts = before;
  const bool enough = command.attempts.unit_attentions >= device::kMaxUnitAttentions;
  if (!enough) ++command.attempts.unit_attentions;
  disposition.action = enough ? Action::error : Action::hold;
  disposition.error = enough ? device::Error::io : device::Error::none;
}

/// A command has moved less than it should. Where whole blocks have moved the rest is sent, and that counts for no
/// retry (`before`: those so far): however little a target moves at a time, it ends.
void Export::take_shortfall(DiskCommand& command, device::Disposition& disposition,
                            const device::Attempts& before) noexcept {
  ++counters_.short_transfers;
  if (command.role != DiskCommand::Role::segment) return;
  if (!keep_moved(static_cast<Segment&>(command), disposition.moved) || NBDGW_MUTANT(progress_is_error)) return;
  command.attempts = before;
  disposition.action = device::Action::retry_now;
  disposition.error = device::Error::none;
}

/// What it has moved for sure is not sent again, if it is whole blocks: then true, and less is left to do.
bool Export::keep_moved(Segment& segment, std::uint32_t bytes) noexcept {
  if (bytes == 0 || bytes % can_.block != 0 || NBDGW_MUTANT(shortfall_sends_all_again)) return false;
  note_cached(segment);
  segment.blocks_done += bytes / can_.block;
  NBDGW_ASSERT(segment.blocks_done < segment.blocks, "a shortfall leaves something to do");
  return true;
}

/// The command has done what it should, or has failed for good.
void Export::command_over(DiskCommand& command, const device::Disposition& disposition, proto::Micros now) {
  const bool good = disposition.action == Action::done;
  if (good) queue_.count_good(now);
  if (good && command.role == DiskCommand::Role::segment) return segment_over(static_cast<Segment&>(command));
  const Error error = to_nbd(disposition.error);
  const char* const text = good ? nullptr : explain_briefly(command, disposition.error);
  const bool refused = disposition.error == device::Error::unsupported;
  if (refused) ++counters_.refusals;
  if (command.role == DiskCommand::Role::flush) {
    ++counters_.flush_commands;
    if (!refused || !flush_falls_back()) flush_over(error, text, &command);
    return;
  }

  Segment& segment = static_cast<Segment&>(command);
  const IoRequest& request = *segment.request;
  const bool stopped = request.abandoned || request.error != Error::none;
  if (!refused || !falls_back(segment, now)) return command_failed(command, error, text, true);
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

/// A command ends with an error; not `sent`: without having been with the target. The request's other commands that
/// are not there are not sent.
void Export::command_failed(DiskCommand& command, Error error, const char* text, bool sent) {
  if (command.role == DiskCommand::Role::flush) {
    flush_.cover_all(disk_->cache);
    flush_over(error, text);
    return;
  }
  Segment& segment = static_cast<Segment&>(command);
  fail(*segment.request, error, text, sent ? &command : nullptr);
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
               (segment->place == DiskCommand::Place::ready || segment->place == DiskCommand::Place::delayed)) {
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
  while (DiskCommand* const command = queue_.take()) command_failed(*command, Error::eio, text, false);
}

}  // namespace nbdgw::bridge
