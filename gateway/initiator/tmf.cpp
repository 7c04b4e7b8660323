// Task management functions: what they hold back, and how one is sent and answered (iscsi_check_tmf_restrictions,
// iscsi_exec_task_mgmt_fn).
#include "gateway/initiator/tmf.hpp"

#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"
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

const char* to_string(TmfState state) noexcept {
  switch (state) {
    case TmfState::initial:
      return "initial";
    case TmfState::queued:
      return "queued";
    case TmfState::success:
      return "success";
    case TmfState::failed:
      return "failed";
    case TmfState::timedout:
      return "timedout";
    case TmfState::not_found:
      return "not_found";
  }
  return "?";
}

bool check_tmf_restrictions(const TaskManagement& tmf, bool fast_abort, Opcode about_to_be_sent, std::uint64_t lun,
                            std::uint32_t itt) noexcept {
  if (tmf.state == TmfState::initial) return true;
  const bool data = about_to_be_sent == Opcode::data_out;
  switch (tmf.function) {
    case TaskManagementFunction::logical_unit_reset:
      if (lun != tmf.lun) return true;
      return data && !fast_abort;
    case TaskManagementFunction::target_warm_reset:
      return data && !fast_abort;
    case TaskManagementFunction::abort_task:
      // Whatever fast_abort says: a target that has answered "task does not exist" may still execute the write once
      // it has its data (reference 6.2, trap 3).
      return !(data && itt == tmf.referenced_itt);
    default:
      return true;
  }
}

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

bool Escalation::restricted_may_send(Opcode opcode, std::uint64_t lun, std::uint32_t itt) const noexcept {
  return check_tmf_restrictions(tmf_, session_.settings_.fast_abort, opcode, lun, itt);
}

void Escalation::exec_task_mgmt_fn(Climb climb, TaskManagementFunction function, const Task* task,
                                   proto::Micros now) {
  NBDGW_ASSERT(tmf_.state == TmfState::initial, "one task management function at a time");
  climb.started_at = now;
  tmf_ = {.state = TmfState::queued,
          .function = function,
          .lun = climb.lun != RecoveryEvent::kNoLun ? climb.lun : 0,
          .deadline = now + timeout_of(function, session_.settings_)};
  if (task != nullptr) {
    tmf_.referenced_itt = task->itt;
    tmf_.referenced_cmd_sn = task->cmd_sn;
    tmf_.connection = task->connection;
  }
  climb_ = std::move(climb);
  send_tmf(now);
}

/// Commands with a CmdSN before the one returned reach the target before what is sent on `way` now: it has
/// acknowledged them, or they went ahead on the same connection, and no command is missing between them.
std::uint32_t Escalation::arrived_below(const Connection& way) const noexcept {
  std::uint32_t below = session_.cmd_sn_;
  for (const Task* task = session_.running_.front(); task != nullptr; task = task->list_next) {
    if (task->connection == &way || proto::serial_less(task->cmd_sn, session_.exp_cmd_sn_)) continue;
    if (proto::serial_less(task->cmd_sn, below)) below = task->cmd_sn;
  }
  return below;
}

bool Escalation::overtakes_tasks(std::uint32_t covers_below) const noexcept {
  for (const Task* task = session_.running_.front(); task != nullptr; task = task->list_next) {
    if (in_scope(*task) && !proto::serial_less(task->cmd_sn, covers_below)) return true;
  }
  return false;
}

/// Whether a reset waits until the commands that it would overtake are known to have arrived; the connections are
/// asked once. Sent at once, it would end some of them without our knowing which: under load that would go on for
/// ever, a few becoming overdue after each reset.
bool Escalation::hold_back(proto::Micros now) {
  const SessionSettings& settings = session_.settings_;
  if (!tmf_.asked && settings.nop_interval > 0) {
    tmf_.asked = true;
    tmf_.held_until = now + std::min(settings.nop_timeout, (tmf_.deadline - now) / 2);
    for (const auto& connection : session_.connections_) {
      if (connection->state_ == ConnectionState::started && connection->ping_ == nullptr) connection->send_ping(now);
    }
  }
  return tmf_.held_until != proto::kNever;
}

/// Puts the request into a send queue, if there is room; else it is tried again until its time is up.
void Escalation::send_tmf(proto::Micros now) {
  // ABORT TASK goes the way of its task, behind it. The others go where the target was heard last.
  if (tmf_.function != TaskManagementFunction::abort_task) tmf_.connection = session_.liveliest_connection();
  Connection* connection = tmf_.connection;
  if (connection == nullptr || !connection->send_queue_.management_room()) return;
  const std::uint32_t covers_below = arrived_below(*connection);
  const bool abort = tmf_.function == TaskManagementFunction::abort_task;
  if (!abort && overtakes_tasks(covers_below) && hold_back(now)) return;
  Task* task = session_.tasks_.alloc(TaskKind::tmf);
  if (task == nullptr) return;
  task->connection = connection;
  task->started_at = now;
  tmf_.task = task;
  tmf_.covers_below = covers_below;
  tmf_.held_until = proto::kNever;
  climb_->cid = connection->cid_;
  connection->send_tmf(tmf_);
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

void Connection::send_tmf(const TaskManagement& tmf) {
  OutgoingPdu& pdu = send_queue_.push();
  const bool abort = tmf.function == TaskManagementFunction::abort_task;
  // Immediate: carries the next CmdSN without using it up.
  proto::iscsi::TaskManagementRequest{.function = tmf.function,
                                      .lun = tmf.lun,
                                      .itt = tmf.task->itt,
                                      .referenced_task_tag = tmf.referenced_itt,
                                      .cmd_sn = session_.cmd_sn_,
                                      .exp_stat_sn = exp_stat_sn_,
                                      .ref_cmd_sn = abort ? tmf.referenced_cmd_sn : 0}
      .encode(pdu.bhs);
  send_queue_.seal(send_header_digest_, send_data_digest_);
  counters_.sent(Opcode::task_management_request);
}

}  // namespace nbdgw::initiator
