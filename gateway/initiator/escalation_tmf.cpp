// How a task management function is sent and answered (iscsi_exec_task_mgmt_fn), and what it lets pass meanwhile.
#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {

using proto::iscsi::Opcode;
using proto::iscsi::TaskManagementFunction;
using proto::iscsi::TaskManagementResult;

namespace {

proto::Micros timeout_of(TaskManagementFunction function, const SessionSettings& settings) noexcept {
  switch (function) {
    case TaskManagementFunction::logical_unit_reset:
      return settings.lu_reset_timeout;
    case TaskManagementFunction::target_warm_reset:
    case TaskManagementFunction::target_cold_reset:
      return settings.target_reset_timeout;
    default:
      return settings.abort_timeout;
  }
}

}  // namespace

bool Escalation::in_scope(const Task& task) const noexcept {
  if (tmf_.state == TmfState::initial) return false;
  switch (tmf_.function) {
    case TaskManagementFunction::abort_task:
      return task.itt == tmf_.referenced_itt;
    case TaskManagementFunction::target_warm_reset:
    case TaskManagementFunction::target_cold_reset:
      return true;
    default:
      return task.command->lun == tmf_.lun;
  }
}

bool Escalation::restricted_may_send_command(std::uint64_t lun) const noexcept {
  if (held_.holds_up_luns() && held_.holds_up(lun)) return false;
  // A LUN that was reset is asked first whether it answers.
  if (verifying() && climb_->rung != Rung::abort_task && (climb_->scope == RungScope::target || climb_->lun == lun)) {
    return false;
  }
  return check_tmf_restrictions(tmf_, tmf_.withhold, Opcode::scsi_command, lun, proto::iscsi::kReservedTag);
}

bool Escalation::would_send_data(const Task& task) const noexcept {
  return check_tmf_restrictions(tmf_, tmf_.withhold, Opcode::data_out, task.command->lun, task.itt);
}

/// Notes as well that data flows, which is about to be queued if it may.
bool Escalation::restricted_may_send_data(const Task& task) noexcept {
  if (!would_send_data(task)) return false;
  if (NBDGW_MUTANT(data_flows_and_proves) || NBDGW_MUTANT(aborted_task_gets_data)) return true;
  if (in_scope(task)) tmf_.data_flowed = true;
  return true;
}

void Escalation::exec_task_mgmt_fn(Climb climb, TaskManagementFunction function, const Task* task,
                                   proto::Micros now) {
  NBDGW_ASSERT(tmf_.state == TmfState::initial, "one task management function at a time");
  climb.started_at = now;
  tmf_ = {.state = TmfState::queued,
          .function = function,
          .lun = climb.lun != RecoveryEvent::kNoLun ? climb.lun : 0,
          .withhold = session_.settings_.fast_abort || climb.again || function == TaskManagementFunction::abort_task,
          .deadline = now + timeout_of(function, session_.settings_)};
  if (task != nullptr) {
    tmf_.referenced_itt = task->itt;
    tmf_.referenced_cmd_sn = task->cmd_sn;
    tmf_.connection = task->connection;
  }
  climb_ = std::move(climb);
  send_tmf(now);
}

/// Whether the function ends the commands of all initiators, and so those of a session that was lost.
bool Escalation::ends_all_nexuses() const noexcept {
  return tmf_.function == TaskManagementFunction::logical_unit_reset ||
         tmf_.function == TaskManagementFunction::target_warm_reset ||
         tmf_.function == TaskManagementFunction::target_cold_reset;
}

bool Escalation::is_about_tasks() const noexcept {
  return std::any_of(session_.connections_.begin(), session_.connections_.end(),
                     [this](const auto& connection) { return carries_scope(*connection); });
}

bool Escalation::carries_scope(const Connection& connection) const noexcept {
  for (const Task* task = session_.running_.front(); task != nullptr; task = task->list_next) {
    if (task->connection == &connection && in_scope(*task)) return true;
  }
  return false;
}

/// Whether unsolicited data of a task that the function is about has no room in the send queue yet. It has been
/// promised with the command, and that of later commands may not go before it (RFC 7143 section 4.2.5.2), so it goes
/// out first.
bool Escalation::owes_promised_data(const Connection& connection) const noexcept {
  for (const Task* task = connection.data_first_; task != nullptr; task = task->next) {
    if (task->sequence_count == 0 || !in_scope(*task)) continue;
    if (task->sequences[task->first_sequence].ttt == proto::iscsi::kReservedTag) return true;
  }
  return false;
}

bool Escalation::may_ask() const noexcept {
  return session_.settings_.nop_interval > 0;
}

/// ABORT TASK goes the way of its task, behind it. The others go where the target was heard last; where the other
/// connections may not be asked, on the only one that carries what they are about, if it is only one.
Connection* Escalation::way_for_tmf() const noexcept {
  if (tmf_.connection != nullptr) return tmf_.connection;
  Connection* way = session_.liveliest_connection();
  if (may_ask() || way == nullptr) return way;
  for (const auto& connection : session_.connections_) {
    if (carries_scope(*connection)) return connection.get();
  }
  return way;
}

std::uint32_t Escalation::highest_cmd_sn_in_scope() const noexcept {
  std::uint32_t highest = session_.exp_cmd_sn_;
  for (const Task* task = session_.running_.front(); task != nullptr; task = task->list_next) {
    if (in_scope(*task) && proto::serial_less(highest, task->cmd_sn)) highest = task->cmd_sn;
  }
  return highest;
}

/// The connection carries a command of the tasks that the function is about, or one that is missing before them.
bool Escalation::round_concerns(const Connection& connection, std::uint32_t highest) const noexcept {
  for (const Task* task = session_.running_.front(); task != nullptr; task = task->list_next) {
    if (task->connection != &connection) continue;
    if (in_scope(*task)) return true;
    if (proto::serial_less(task->cmd_sn, highest) && !proto::serial_less(task->cmd_sn, session_.exp_cmd_sn_)) {
      return true;
    }
  }
  return false;
}

/// Whether all that was sent before now on other connections, of the tasks that the function is about, has arrived.
/// Asks for it with a NOP-Out behind what is queued there; only one that is sent from now on counts. Also where a
/// command is missing before one of theirs: behind such a gap a target may keep a command aside, where no function
/// finds it.
bool Escalation::round_is_over(proto::Micros now) {
  const std::uint32_t highest = highest_cmd_sn_in_scope();
  bool over = true;
  for (const auto& connection : session_.connections_) {
    if (connection.get() == tmf_.connection || !round_concerns(*connection, highest)) continue;
    if (tmf_.round == 0) tmf_.round = ++rounds_;
    if (connection->round_ != tmf_.round && !owes_promised_data(*connection)) {
      connection->send_round_ping(tmf_.round, now);
    }
    if (connection->round_ != tmf_.round || connection->round_ping_ != nullptr) over = false;
  }
  return over;
}

/// The first command that the target has not acknowledged went this way, so that what it has received behind it over
/// other connections cannot be acknowledged either (RFC 7143 section 4.2.2.1).
bool Escalation::holds_acknowledgements(const Connection& way) const noexcept {
  for (const Task* task = session_.running_.front(); task != nullptr; task = task->list_next) {
    if (task->cmd_sn == session_.exp_cmd_sn_) return task->connection == &way;
  }
  return false;
}

/// Commands with a CmdSN before the one returned have reached the target before what is sent on `way` now: it has
/// acknowledged them; or they went ahead on the same connection; or, while it cannot acknowledge, they went before a
/// ping of this round that was answered. And no command is missing between them.
std::uint32_t Escalation::arrived_below(const Connection& way) const noexcept {
  const bool believe_pings = tmf_.round != 0 && holds_acknowledgements(way);
  std::uint32_t below = session_.cmd_sn_;
  for (const Task* task = session_.running_.front(); task != nullptr; task = task->list_next) {
    const Connection& other = *task->connection;
    if (&other == &way || proto::serial_less(task->cmd_sn, session_.exp_cmd_sn_)) continue;
    if (NBDGW_MUTANT(reset_covers_all_sent)) continue;
    const bool answered = other.round_ping_ == nullptr || NBDGW_MUTANT(reset_without_round);
    const bool asked = believe_pings && other.round_ == tmf_.round && answered;
    if (asked && proto::serial_less(task->cmd_sn, other.round_below_)) continue;
    if (proto::serial_less(task->cmd_sn, below)) below = task->cmd_sn;
  }
  return below;
}

/// Puts the request into a send queue, once all that must go before it has gone and there is room; else it is tried
/// again until its time is up.
void Escalation::send_tmf(proto::Micros now) {
  tmf_.connection = way_for_tmf();
  Connection* connection = tmf_.connection;
  if (connection == nullptr || owes_promised_data(*connection)) return;
  if (tmf_.function != TaskManagementFunction::abort_task) {
    const auto elsewhere = [&](const auto& other) { return other.get() != connection && carries_scope(*other); };
    if (may_ask()) {
      if (!round_is_over(now) && !NBDGW_MUTANT(reset_without_round)) return;
    } else if (std::any_of(session_.connections_.begin(), session_.connections_.end(), elsewhere)) {
      tmf_.unasked = true;
      if (climb_->request_id == 0) return drop_instead(now);
    }
  }
  if (!connection->stream_.send_queue().management_room()) return;
  Task* task = session_.tasks_.alloc(TaskKind::tmf);
  if (task == nullptr) return;
  task->connection = connection;
  task->started_at = now;
  tmf_.task = task;
  tmf_.covers_below = arrived_below(*connection);
  climb_->cid = connection->cid_;
  connection->send_tmf(tmf_);
}

/// The function could not prove anything.
void Escalation::drop_instead(proto::Micros now) {
  Climb climb = *std::exchange(climb_, std::nullopt);
  tmf_ = {};
  climb.cause += "; " + std::string(to_string(climb.rung)) +
                 " would prove nothing, for pings are off and other connections carry commands that it is about";
  eh_session_reset(std::move(climb), now);
}

void Escalation::tmf_rsp(TaskManagementResult response) noexcept {
  session_.complete_task(*std::exchange(tmf_.task, nullptr), TaskState::completed);
  if (tmf_.state != TmfState::queued) {  // its time was up
    ++session_.counters_.late_answers;
    return;
  }
  tmf_.deadline = proto::kNever;
  switch (response) {
    case TaskManagementResult::complete:
      tmf_.state = TmfState::success;
      return;
    case TaskManagementResult::task_does_not_exist:
      tmf_.state = TmfState::not_found;
      return;
    default:
      tmf_.state = TmfState::failed;
  }
}

void Escalation::tmf_rejected() noexcept {
  tmf_rsp(TaskManagementResult::rejected);
}

}  // namespace nbdgw::initiator
