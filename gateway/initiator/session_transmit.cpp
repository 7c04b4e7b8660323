// What is sent next, and where (iscsi_data_xmit, and the command window).
#include <algorithm>
#include <memory>

#include "gateway/initiator/session.hpp"
#include "proto/mutant.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {

using proto::iscsi::kReservedTag;
using proto::iscsi::Opcode;

namespace {

/// What a command costs a connection beside its data, so that commands without data count too.
constexpr std::uint32_t kCommandWeight = 512;

/// Commands of one turn go to the same connection until they weigh this much, so that small ones leave, and are
/// answered, in few packets. Spreading them singly over four connections cost a third more CPU at 4 KiB.
constexpr std::uint32_t kBatchWeight = 64 * 1024;

}  // namespace

void Session::update_cmdsn(const proto::iscsi::TargetSequence& sequence) noexcept {
  // RFC 7143 section 4.2.2.1. The numbers arrive over several connections in any order: never go back.
  if (proto::serial_less(sequence.max_cmd_sn, sequence.exp_cmd_sn - 1)) return;
  if (proto::serial_less(exp_cmd_sn_, sequence.exp_cmd_sn)) exp_cmd_sn_ = sequence.exp_cmd_sn;
  if (proto::serial_less(max_cmd_sn_, sequence.max_cmd_sn)) max_cmd_sn_ = sequence.max_cmd_sn;
}

bool Session::window_open() const noexcept {
  return proto::serial_less_equal(cmd_sn_, max_cmd_sn_ + (NBDGW_MUTANT(window_one_too_wide) ? 1 : 0));
}

Connection* Session::pick_connection() const noexcept {
  Connection* best = nullptr;
  for (const auto& connection : connections_) {
    if (!connection->may_take_command()) continue;
    if (best == nullptr || connection->outstanding_bytes_ < best->outstanding_bytes_) best = connection.get();
  }
  return best;
}

Connection* Session::liveliest_connection() const noexcept {
  Connection* best = nullptr;
  for (const auto& connection : connections_) {
    if (connection->state_ != ConnectionState::started || !connection->stream_.send_queue().management_room())
      continue;
    if (best == nullptr || connection->last_received_ > best->last_received_) best = connection.get();
  }
  return best;
}

/// Whether a command that is sent this way is the next for the target when it comes: those before it have come, or go
/// the same way. If not it waits there, and there are targets that cannot take its unsolicited data meanwhile (LIO
/// drops the connection).
bool Session::next_comes_in_order(const Connection& way) const noexcept {
  return std::ranges::all_of(connections_, [&](const auto& other) {
    return other.get() == &way || !other->last_cmd_sn_ || proto::serial_less(*other->last_cmd_sn_, exp_cmd_sn_);
  });
}

void Session::start_command(ScsiCommand& command, Task& task, Connection& connection, proto::Micros now) {
  task.command = &command;
  task.connection = &connection;
  command.started_at = task.started_at = task.last_transfer_at = task.armed_at = now;
  task.deadline = now + escalation_.time_for(command, settings_);
  task.outstanding_bytes = command.data_length + kCommandWeight;
  connection.outstanding_bytes_ += task.outstanding_bytes;
  running_.insert(task);
  connection.prep_scsi_cmd_pdu(task);
  ++counters_.commands;
  ++counters_.commands_by_opcode[kSentCommands.place_of(command.cdb[0])];
}

void Session::data_xmit(proto::Micros now) {
  bool blocked = false;  // by the target, or for want of a task
  bool started = false;
  if (state_ == SessionState::logged_in && !queue_suspended_) {
    Connection* connection = nullptr;
    std::uint32_t batch = 0;
    // A LUN that is being reset does not hold up the others.
    const auto may_send = [&](std::uint64_t lun) { return escalation_.may_send_command(lun); };
    while (pending_.next(may_send) != nullptr) {
      if (!window_open()) {
        ++counters_.window_closed;
        blocked = true;
        break;
      }
      if (connection == nullptr || batch >= kBatchWeight || !connection->may_take_command()) {
        connection = pick_connection();
        batch = 0;
      }
      if (connection == nullptr) break;
      Task* task = tasks_.alloc(TaskKind::scsi);
      if (task == nullptr) {
        blocked = true;
        break;
      }
      start_command(pending_.take(), *task, *connection, now);
      batch += task->outstanding_bytes;
      started = true;
    }
  }
  escalation_.commands_blocked(blocked && !started, now);
  // New commands go before data that was asked for, as the kernel does it: the target can begin with them meanwhile.
  for (const auto& connection : connections_) {
    if (connection->state_ == ConnectionState::started) connection->fill_send_queue();
  }
}

void Session::queuecommand(ScsiCommand& command, proto::Micros) {
  command.outcome = Outcome::pending;
  command.status = 0;
  command.sense_length = 0;
  command.residual_underflow = command.residual_overflow = 0;
  command.transferred = 0;
  command.overdue = false;
  command.lost_by_us = false;
  command.proof.reset();
  command.started_at = ScsiCommand::kNotStarted;
  if (stopping_) {
    command.outcome = Outcome::path_lost;
    done(command);
    return;
  }
  pending_.push(command);
  bell_.ring();
}

void Session::recall(std::uint64_t lun) {
  while (ScsiCommand* const command = pending_.take_of(lun)) {
    command->outcome = Outcome::recalled;
    command->proof = Proof(Proof::Kind::never_sent);
    done(*command);
  }
}

void Session::suspect(std::uint64_t lun, std::span<const LeftWrites> left) {
  if (suspects(lun)) return;
  std::erase_if(suspicions_, [](const auto& each) { return each->over; });
  for (std::size_t i = 0; i < std::max<std::size_t>(left.size(), 1); ++i) {
    Suspicion& suspicion = *suspicions_.emplace_back(std::make_unique<Suspicion>());
    suspicion.lun = lun;
    suspicion.direction = Direction::write;
    suspicion.sink = &suspicion;
    escalation_.held().hold_legacy(suspicion, left.empty() ? nullptr : &left[i]);
  }
  if (state_ == SessionState::logged_in) escalation_.held().look_at_legacies();
  bell_.ring();
}

std::vector<LeftWrites> Session::left_writes(std::uint64_t lun) const {
  const auto given_up = left_.find(lun);
  std::vector<LeftWrites> left = given_up != left_.end() ? given_up->second : std::vector<LeftWrites>();
  for (const Task* task = running_.front(); task != nullptr; task = task->list_next) {
    if (task->command->lun != lun || writes_nothing(*task->command)) continue;
    note_left(left, {.group = group_, .acknowledged = proto::serial_less(task->cmd_sn, exp_cmd_sn_)});
  }
  escalation_.held().list(lun, left);
  return left;
}

/// It is given up: of what it has with the target it will not hear any more.
void Session::note_what_is_left() {
  std::vector<std::uint64_t> luns = escalation_.held().luns();
  for (const Task* task = running_.front(); task != nullptr; task = task->list_next)
    luns.push_back(task->command->lun);
  for (const std::uint64_t lun : luns) {
    if (!left_.contains(lun)) left_[lun] = left_writes(lun);
  }
}

bool Session::suspects(std::uint64_t lun) const noexcept {
  return std::ranges::any_of(suspicions_, [lun](const auto& each) { return each->lun == lun && !each->over; });
}

void Session::Suspicion::on_command_done(ScsiCommand& command, proto::Micros) {
  over = command.outcome != Outcome::path_lost;
}

void Session::deliver(proto::Micros now) {
  escalation_.step(now);
  while (done_first_ != nullptr) {
    ScsiCommand& command = *done_first_;
    done_first_ = command.next;
    if (done_first_ == nullptr) done_last_ = nullptr;
    command.next = nullptr;
    count_end(command, now);
    command.sink->on_command_done(command, now);
  }
}

}  // namespace nbdgw::initiator
