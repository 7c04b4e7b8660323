// What a target sends in full feature phase (__iscsi_complete_pdu and what it calls).
#include <algorithm>
#include <string>

#include "gateway/initiator/session.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/sense.hpp"

namespace nbdgw::initiator {

using proto::iscsi::Opcode;
using proto::iscsi::StatusFields;

namespace {

constexpr std::uint8_t kStatusCheckCondition = 0x02;

/// Residual counts (RFC 7143 sections 11.4.5.1, 11.7.1): false when they cannot be, with the transfer they go with.
bool take_residual(const StatusFields& fields, ScsiCommand& command) noexcept {
  if (fields.underflow && fields.overflow) return false;
  if (!fields.underflow && !fields.overflow) return true;
  if (fields.residual_count == 0 || fields.residual_count >= 0x80000000U) return false;
  if (fields.overflow) {
    command.residual_overflow = fields.residual_count;
    return true;
  }
  if (fields.residual_count > command.data_length) return false;
  command.residual_underflow = fields.residual_count;
  return true;
}

/// Sense data: a length of two bytes, then the sense (section 11.4.7.2). False when it does not fit its PDU.
bool take_sense(std::span<const std::uint8_t> data, ScsiCommand& command) noexcept {
  if (data.size() < 2) return false;
  const std::size_t length = proto::load_be16(data.data());
  if (length > data.size() - 2) return false;
  command.sense_length = static_cast<std::uint8_t>(std::min(length, ScsiCommand::kMaxSense));
  std::copy_n(data.begin() + 2, command.sense_length, command.sense.begin());
  return true;
}

}  // namespace

Placement Connection::place(const proto::iscsi::Bhs& bhs) {
  if (state_ == ConnectionState::started &&
      proto::iscsi::Prefix::decode(bhs).opcode == static_cast<std::uint8_t>(Opcode::data_in)) {
    return place_data_in(bhs);
  }
  return {};
}

/// An answer to a task that the ladder has ended, which had been on its way: it is ignored, but for its place in the
/// sequences.
bool Connection::is_late(std::uint32_t itt) const noexcept {
  return session_.tasks_.is_late_answer(itt);
}

ConnectionError Connection::check_data_in(const proto::iscsi::DataIn& pdu, Task*& task) noexcept {
  task = session_.tasks_.itt_to_ctask(pdu.itt);
  if (task == nullptr) return ConnectionError::bad_itt;
  if (task->connection != this) return ConnectionError::wrong_connection;
  if (task->command->direction != Direction::read) return ConnectionError::protocol;
  if (pdu.data_sn != task->exp_data_sn) return ConnectionError::data_sn;
  if (std::uint64_t{pdu.buffer_offset} + pdu.data_length > task->command->data_length) {
    return ConnectionError::data_offset;
  }
  // DataPDUInOrder and DataSequenceInOrder are Yes: no gap, so that no byte of the buffer is taken for read data that
  // never was sent.
  if (pdu.data_length > 0 && pdu.buffer_offset != task->bytes_received) return ConnectionError::data_offset;
  return ConnectionError::none;
}

Placement Connection::place_data_in(const proto::iscsi::Bhs& bhs) {
  const auto pdu = proto::iscsi::DataIn::decode(bhs);
  if (is_late(pdu.itt)) return {.discard = true};
  Task* task = nullptr;
  const ConnectionError error = check_data_in(pdu, task);
  if (error != ConnectionError::none) return {.error = error};
  if (NBDGW_MUTANT(receives_into_freed_memory)) return {.list = task->command->data, .offset = pdu.buffer_offset};
  // The memory must not go away while bytes come in, even if the task ends meanwhile.
  receiving_ = task;
  ++task->references;
  return {.list = task->command->data, .offset = pdu.buffer_offset};
}

ConnectionError Connection::late_answer(std::uint32_t itt, const proto::iscsi::TargetSequence& sequence,
                                        bool has_status) noexcept {
  ++session_.counters_.late_answers;
  if (has_status) {
    if (const auto error = stream_.take_stat_sn(sequence.stat_sn); error != ConnectionError::none) return error;
    session_.tasks_.late_answer_came(itt);
  }
  session_.update_cmdsn(sequence);
  return ConnectionError::none;
}

/// What it says of its command nobody wants to know any more. But a unit attention and a deferred error are about the
/// LUN, and are told to no other command.
void Connection::hear_late_sense(std::uint32_t itt, std::span<const std::uint8_t> data) {
  ScsiCommand answer;
  answer.lun = session_.tasks_.late_lun(itt);
  answer.outcome = Outcome::completed;
  answer.status = kStatusCheckCondition;
  if (!take_sense(data, answer)) return;
  const auto sense = sense_of(answer);
  if (!sense || (sense->key != proto::scsi::SenseKey::unit_attention && !sense->deferred)) return;
  session_.tell_unit_answer(answer);
}

ConnectionError Connection::complete_pdu(const ReceivedPdu& pdu, proto::Micros now) {
  const Opcode opcode = stream_.count_received(pdu);
  if (state_ == ConnectionState::login) return login_response(pdu, now);
  switch (opcode) {
    case Opcode::data_in:
      return data_in_rsp(pdu, now);
    case Opcode::scsi_response:
      return scsi_cmd_rsp(pdu, now);
    case Opcode::r2t:
      return r2t_rsp(pdu, now);
    case Opcode::nop_in:
      return nop_in(pdu, now);
    case Opcode::async_message:
      return async_message(pdu, now);
    case Opcode::reject:
      return handle_reject(pdu, now);
    case Opcode::logout_response:
      return logout_rsp(pdu, now);
    case Opcode::task_management_response:
      return tmf_rsp(pdu);
    case Opcode::text_response:
    case Opcode::login_response:
      detail_ = "a text or login response that nothing asked for";
      return ConnectionError::protocol;
    default:
      return ConnectionError::bad_opcode;
  }
}

ConnectionError Connection::scsi_cmd_rsp(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::ScsiResponse::decode(received.bhs);
  if (is_late(pdu.itt)) {
    if (pdu.status.status == kStatusCheckCondition) hear_late_sense(pdu.itt, received.data);
    return late_answer(pdu.itt, pdu.sequence, true);
  }
  Task* task = session_.tasks_.itt_to_ctask(pdu.itt);
  if (task == nullptr) return ConnectionError::bad_itt;
  if (task->connection != this) return ConnectionError::wrong_connection;
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  session_.update_cmdsn(pdu.sequence);

  ScsiCommand& command = *task->command;
  Outcome outcome = Outcome::completed;
  command.status = pdu.status.status;
  if (pdu.response != proto::iscsi::ScsiResponseCode::completed_at_target) outcome = Outcome::bad_target;
  if (!take_residual(pdu.status, command)) outcome = Outcome::bad_target;
  if (pdu.bidi_underflow || pdu.bidi_overflow) outcome = Outcome::bad_target;
  // Sense with any other status is ignored: a real target (tgtd) attaches some to GOOD.
  if (command.status == kStatusCheckCondition) {
    if (!take_sense(received.data, command)) outcome = Outcome::bad_target;
    session_.escalation_.on_sense(*task, now);
  }
  finish_scsi_task(*task, outcome);
  return ConnectionError::none;
}

ConnectionError Connection::data_in_rsp(const ReceivedPdu& received, proto::Micros now) {
  if (receiving_ != nullptr) {
    Task* held = receiving_;
    receiving_ = nullptr;
    session_.put_task(*held);
  }
  const auto pdu = proto::iscsi::DataIn::decode(received.bhs);
  if (is_late(pdu.itt)) return late_answer(pdu.itt, pdu.sequence, pdu.has_status);
  Task* task = nullptr;
  if (const auto error = check_data_in(pdu, task); error != ConnectionError::none) return error;
  ++task->exp_data_sn;
  task->bytes_received += pdu.data_length;
  task->last_transfer_at = now;
  session_.update_cmdsn(pdu.sequence);
  if (!pdu.has_status) return ConnectionError::none;
  if (!pdu.final) {
    detail_ = "status in a Data-In that is not the final one";
    return ConnectionError::protocol;
  }
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  task->command->status = pdu.status.status;
  finish_scsi_task(*task, take_residual(pdu.status, *task->command) ? Outcome::completed : Outcome::bad_target);
  return ConnectionError::none;
}

/// An end that leaves data behind is no reason to give the session up: the command is over at the target, which is
/// all that matters here. Whoever judges the end is told how much has moved, and takes nothing for read or written
/// that was not.
void Connection::finish_scsi_task(Task& task, Outcome outcome) {
  ScsiCommand& command = *task.command;
  command.transferred = task.bytes_received;
  if (command.direction == Direction::write) {
    // What is still in our own queue cannot be what the target speaks of.
    command.transferred =
        task.references == 0 ? task.bytes_sent : stream_.send_queue().first_unsent(task, task.bytes_sent);
  }
  session_.progress_ = session_.progress_ || !command.looks;
  if (session_.escalation_.wants_answers()) session_.escalation_.on_answer(task, outcome);
  session_.complete_scsi_task(task, outcome);
}

ConnectionError Connection::r2t_rsp(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::R2t::decode(received.bhs);
  if (is_late(pdu.itt)) return late_answer(pdu.itt, pdu.sequence, false);
  Task* task = session_.tasks_.itt_to_ctask(pdu.itt);
  if (task == nullptr) return ConnectionError::bad_itt;
  if (task->connection != this) return ConnectionError::wrong_connection;
  if (task->command->direction != Direction::write) {
    detail_ = "R2T for a command that writes nothing";
    return ConnectionError::protocol;
  }
  session_.update_cmdsn(pdu.sequence);
  if (pdu.data_length != 0) return ConnectionError::data_length;
  if (pdu.ahs_length != 0) return ConnectionError::ahs_length;
  if (pdu.r2t_sn != task->exp_data_sn) return ConnectionError::r2t_sn;
  if (pdu.desired_length == 0) return ConnectionError::data_length;
  if (std::uint64_t{pdu.buffer_offset} + pdu.desired_length > task->command->data_length) {
    return ConnectionError::data_offset;
  }
  if (pdu.ttt == proto::iscsi::kReservedTag || task->sequence_count == Task::kMaxR2ts) {
    detail_ = "too many R2Ts at once, or one without a tag";
    return ConnectionError::protocol;
  }
  ++task->exp_data_sn;
  task->last_transfer_at = now;
  const auto slot = static_cast<std::uint8_t>((task->first_sequence + task->sequence_count) % Task::kMaxR2ts);
  task->sequences[slot] = {.ttt = pdu.ttt, .offset = pdu.buffer_offset, .remaining = pdu.desired_length};
  if (NBDGW_MUTANT(data_sn_from_one)) task->sequences[slot].data_sn = 1;
  ++task->sequence_count;
  requeue_task(*task);
  return ConnectionError::none;
}

ConnectionError Connection::nop_in(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::NopIn::decode(received.bhs);
  if (pdu.itt == proto::iscsi::kReservedTag) {
    // Its StatSN is the next one, not used up.
    session_.update_cmdsn(pdu.sequence);
    return stream_.answer_nop_in(pdu, session_.cmd_sn_, detail_);
  }
  Task* task = session_.tasks_.itt_to_task(pdu.itt);
  if (task == nullptr || task->kind != TaskKind::nop) return ConnectionError::bad_itt;
  if (task->connection != this) return ConnectionError::wrong_connection;
  if (pdu.ttt != proto::iscsi::kReservedTag || pdu.data_length != 0) {
    detail_ = "an answer to our NOP-Out with a tag or data of its own";
    return ConnectionError::protocol;
  }
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  session_.update_cmdsn(pdu.sequence);
  pong(*task, now);
  return ConnectionError::none;
}

ConnectionError Connection::handle_reject(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::Reject::decode(received.bhs);
  ++session_.counters_.rejects;
  if (received.data.size() < proto::iscsi::kBhsLength) {
    detail_ = "a Reject without the header that it rejects";
    return ConnectionError::protocol;
  }
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  session_.update_cmdsn(pdu.sequence);
  proto::iscsi::Bhs bhs;
  std::copy_n(received.data.begin(), bhs.size(), bhs.begin());
  const auto rejected = proto::iscsi::Prefix::decode(bhs);
  const auto opcode = static_cast<Opcode>(rejected.opcode);
  Task* task = session_.tasks_.itt_to_task(rejected.itt);
  if (task == nullptr && session_.tasks_.is_late_answer(rejected.itt)) {
    ++session_.counters_.late_answers;  // what was on its way to the target when the ladder ended the task
    return ConnectionError::none;
  }
  if (task != nullptr && task->connection == this) {
    if (opcode == Opcode::data_out && task->kind == TaskKind::scsi && session_.escalation_.in_scope(*task)) {
      ++session_.counters_.late_answers;  // the target has ended the task, and its word of that is on its way
      return ConnectionError::none;
    }
    if (task->kind == TaskKind::nop) {  // rejected, but it has arrived: that is all a ping wants to know
      pong(*task, now);
      return ConnectionError::none;
    }
    if (task->kind == TaskKind::scsi && opcode == Opcode::scsi_command &&
        pdu.reason != proto::iscsi::RejectReason::data_digest_error) {
      session_.escalation_.on_rejected(task->cmd_sn, now);
      session_.tasks_.expect_late_answer(*task);  // some targets also send a SCSI Response
      session_.complete_scsi_task(*task, Outcome::bad_target);
      return ConnectionError::none;
    }
    if (task->kind == TaskKind::tmf && opcode == Opcode::task_management_request) {
      session_.escalation_.tmf_rejected();
      return ConnectionError::none;
    }
  } else if (opcode == Opcode::nop_out) {
    return ConnectionError::none;  // our answer to its ping; it has seen it
  }
  detail_ = "reason " + std::to_string(static_cast<int>(pdu.reason)) + ", opcode " + std::to_string(rejected.opcode);
  return ConnectionError::rejected;
}

ConnectionError Connection::async_message(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::AsyncMessage::decode(received.bhs);
  ++session_.counters_.async_messages;
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  session_.update_cmdsn(pdu.sequence);
  using proto::iscsi::AsyncEvent;
  const auto notice = [&](const char* text) { session_.tell(SessionEvent::Kind::notice, cid_, text); };
  switch (pdu.event) {
    case AsyncEvent::scsi:
      session_.tell_unit_event(cid_, pdu.lun, received.data);
      return ConnectionError::none;
    case AsyncEvent::logout_request:
      notice("the target asks for a logout: logging out, and in again");
      session_.begin_logout(now);
      return ConnectionError::none;
    case AsyncEvent::negotiate:
      notice("the target wants to negotiate: logging out, and in again");
      session_.begin_logout(now);
      return ConnectionError::none;
    case AsyncEvent::drop_connection:
    case AsyncEvent::drop_all_connections:
      session_.wait_before_reopen(pdu.parameter2 * proto::kSecond);
      return ConnectionError::asked_to_drop;
    case AsyncEvent::task_termination:
      notice("the target has terminated tasks");
      return ConnectionError::none;
    case AsyncEvent::vendor:
      notice("the target sent a vendor's own event: ignored");
      return ConnectionError::none;
  }
  notice("the target sent an unknown asynchronous event: ignored");
  return ConnectionError::none;
}

ConnectionError Connection::tmf_rsp(const ReceivedPdu& received) {
  const auto pdu = proto::iscsi::TaskManagementResponse::decode(received.bhs);
  Task* task = session_.tasks_.itt_to_task(pdu.itt);
  if (task == nullptr || task->kind != TaskKind::tmf) return ConnectionError::bad_itt;
  if (task->connection != this) return ConnectionError::wrong_connection;
  if (!received.data.empty()) {
    detail_ = "an answer to a task management function with data";
    return ConnectionError::protocol;
  }
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  session_.update_cmdsn(pdu.sequence);
  session_.escalation_.tmf_rsp(pdu.response);
  return ConnectionError::none;
}

ConnectionError Connection::logout_rsp(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::LogoutResponse::decode(received.bhs);
  Task* task = session_.tasks_.itt_to_task(pdu.itt);
  if (task == nullptr || task != logout_) return ConnectionError::bad_itt;
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  session_.update_cmdsn(pdu.sequence);
  logout_ = nullptr;
  session_.complete_task(*task, TaskState::completed);
  // After an orderly end there is nothing to wait for (section 11.15.3).
  const bool closed = pdu.response == proto::iscsi::LogoutResult::closed;
  session_.wait_before_reopen(closed ? 0 : pdu.time2wait * proto::kSecond);
  session_.logged_out(now);
  return ConnectionError::none;
}

}  // namespace nbdgw::initiator
