// What a connection sends beside commands and their data: NOP-Outs, functions, the logout.
#include "gateway/initiator/session.hpp"

namespace nbdgw::initiator {

using proto::iscsi::Opcode;
using proto::iscsi::TaskManagementFunction;

/// A NOP-Out that is to be answered; nullptr: there is no room for it.
Task* Connection::send_nop_task(proto::Micros now) {
  Task* task = stream_.send_queue().management_room() ? session_.tasks_.alloc(TaskKind::nop) : nullptr;
  if (task == nullptr) return nullptr;
  task->connection = this;
  task->started_at = now;
  ++session_.counters_.pings;
  stream_.send_nop_out(task->itt, proto::iscsi::kReservedTag, 0, session_.cmd_sn_);
  return task;
}

void Connection::send_ping(proto::Micros now) {
  pinging_ = true;
  pinging_since_ = now;
  ping_ = send_nop_task(now);  // none: if nothing comes in either, the deadline gives the connection up
}

/// One at a time: a second one waits until the first, of a round that is not needed any more, is answered.
void Connection::send_round_ping(std::uint32_t round, proto::Micros now) {
  if (round_ping_ != nullptr) return;
  round_ping_ = send_nop_task(now);
  if (round_ping_ == nullptr) return;
  round_ = round;
  round_below_ = session_.cmd_sn_;
  round_deadline_ = now + session_.settings_.nop_timeout;
}

void Connection::pong(Task& task, proto::Micros now) {
  session_.escalation_.on_sign_of_life(*this, now);
  session_.unanswered_pings_ = 0;
  if (&task == ping_) {
    ping_ = nullptr;
    pinging_ = false;
  } else if (&task == round_ping_) {
    round_ping_ = nullptr;
    round_deadline_ = proto::kNever;
  }
  session_.complete_task(task, TaskState::completed);
}

void Connection::send_logout(proto::iscsi::LogoutReason reason, proto::Micros now) {
  Task* task = stream_.send_queue().management_room() ? session_.tasks_.alloc(TaskKind::logout) : nullptr;
  if (task == nullptr) return;  // the logout's deadline ends it
  task->connection = this;
  task->started_at = now;
  logout_ = task;
  stream_.send_logout(reason, task->itt, cid_, session_.cmd_sn_);
}

void Connection::send_tmf(const TaskManagement& tmf) {
  OutgoingPdu& pdu = stream_.send_queue().push();
  const bool abort = tmf.function == TaskManagementFunction::abort_task;
  // Immediate: carries the next CmdSN without using it up.
  proto::iscsi::TaskManagementRequest{.function = tmf.function,
                                      .lun = tmf.lun,
                                      .itt = tmf.task->itt,
                                      .referenced_task_tag = tmf.referenced_itt,
                                      .cmd_sn = session_.cmd_sn_,
                                      .exp_stat_sn = stream_.exp_stat_sn(),
                                      .ref_cmd_sn = abort ? tmf.referenced_cmd_sn : 0}
      .encode(pdu.bhs);
  stream_.seal(Opcode::task_management_request);
}

}  // namespace nbdgw::initiator
