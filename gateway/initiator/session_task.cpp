// The one way a task ends (iscsi_complete_scsi_task, iscsi_complete_task, iscsi_free_task).
#include "gateway/initiator/task.hpp"

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/sense.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {
namespace {

/// Whoever judges the end may take it for a good one: GOOD, and what says in other words that all went well.
bool may_be_good(const ScsiCommand& command) noexcept {
  using proto::scsi::Status;
  if (command.outcome != Outcome::completed) return false;
  const auto status = static_cast<Status>(command.status);
  if (status == Status::good || status == Status::condition_met) return true;
  const auto sense = sense_of(command);
  return sense && !sense->deferred && sense->key == proto::scsi::SenseKey::recovered_error;
}

}  // namespace

void Session::complete_scsi_task(Task& task, Outcome outcome) {
  NBDGW_ASSERT(task.command != nullptr, "a SCSI task has a command");
  if (task.is_completed()) return;
  task.command->outcome = outcome;
  if (outcome == Outcome::completed || outcome == Outcome::bad_target) {
    task.command->proof = Proof(Proof::Kind::answered);
  }
  switch (outcome) {
    case Outcome::transport_disrupted:
    case Outcome::path_lost:
      return complete_task(task, TaskState::abrt_sess_recov);
    case Outcome::aborted:
      return complete_task(task, TaskState::abrt_tmf);
    default:
      return complete_task(task, TaskState::completed);
  }
}

void Session::complete_task(Task& task, TaskState state) {
  if (task.is_completed()) return;
  NBDGW_ASSERT(task.state == TaskState::running, "only a running task can end");
  task.state = state;
  if (task.kind == TaskKind::scsi) {
    running_.remove(task);
    task.connection->outstanding_bytes_ -= task.outstanding_bytes;
    task.connection->drop_data_out(task);
  }
  if (task.references == 0) free_task(task);
}

void Session::put_task(Task& task) {
  NBDGW_ASSERT(task.references > 0, "a reference is given back once");
  if (--task.references == 0 && task.is_completed()) free_task(task);
}

void Session::free_task(Task& task) {
  ScsiCommand* command = task.command;
  tasks_.free(task);
  if (command != nullptr) {
    if (command->ends_last && may_be_good(*command) && awaits_others(*command, cmd_sn_)) {
      last_ends_.push_back({command, cmd_sn_});
    } else {
      done(*command);
    }
  }
  if (!last_ends_.empty()) tell_last_ends();
}

/// Also one that is answered, but not handed back yet.
bool Session::awaits_others(const ScsiCommand& command, std::uint32_t below) const noexcept {
  if (NBDGW_MUTANT(last_end_comes_first)) return false;
  return tasks_.any_of([&](const Task& other) {
    return other.kind == TaskKind::scsi && other.command != nullptr && other.command->lun == command.lun &&
           proto::serial_less(other.cmd_sn, below);
  });
}

void Session::tell_last_ends() {
  std::erase_if(last_ends_, [this](const LastEnd& end) {
    if (awaits_others(*end.command, end.below)) return false;
    done(*end.command);
    return true;
  });
}

/// What others would have told nobody will know any more.
void Session::forget_last_ends(Outcome outcome) {
  for (const LastEnd& end : last_ends_) {
    end.command->outcome = outcome;
    end.command->lost_by_us = lost_by_us_;
    if (outcome == Outcome::transport_disrupted) end.command->proof = Proof(Proof::Kind::harmless);
    done(*end.command);
  }
  last_ends_.clear();
}

/// The one place where a command is handed back, for whatever reason.
void Session::done(ScsiCommand& command) {
  NBDGW_ASSERT(command.proof.has_value() || command.outcome == Outcome::path_lost,
               "a command is handed back with a proof that the target does not run it any more");
  command.next = nullptr;
  (done_last_ != nullptr ? done_last_->next : done_first_) = &command;
  done_last_ = &command;
  bell_.ring();
}

void Session::count_end(const ScsiCommand& command, proto::Micros now) noexcept {
  if (command.started_at == ScsiCommand::kNotStarted) return;
  counters_.command_durations.add(now - command.started_at);
  if (command.outcome != Outcome::completed) return;
  ++counters_.statuses[kStatuses.place_of(command.status)];
  if (command.status != static_cast<std::uint8_t>(proto::scsi::Status::check_condition)) return;
  const auto sense = sense_of(command);
  ++counters_.sense_keys[sense ? static_cast<std::size_t>(sense->key) : SessionCounters::kSenseKeys];
}

}  // namespace nbdgw::initiator
