// Write data that follows its command: unsolicited, or asked for with an R2T (iscsi_prep_data_out_pdu,
// iscsi_requeue_task).
#include <algorithm>

#include "gateway/initiator/session.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {

void Connection::prep_data_out_pdu(Task& task, DataOutSequence& sequence) {
  const std::uint32_t length = std::min(sequence.remaining, parameters_.peer_max_recv_data_segment_length);
  OutgoingPdu& pdu = stream_.send_queue().push();
  pdu.task = &task;
  pdu.data_offset = sequence.offset;
  pdu.data_length = length;
  const bool more_to_come =
      NBDGW_MUTANT(final_flag_at_the_end_only) && sequence.offset + length < task.command->data_length;
  proto::iscsi::DataOut{.final = length == sequence.remaining && !more_to_come,
                        .data_length = length,
                        .lun = task.command->lun,
                        .itt = task.itt,
                        .ttt = sequence.ttt,
                        .exp_stat_sn = stream_.exp_stat_sn(),
                        .data_sn = sequence.data_sn,
                        .buffer_offset = sequence.offset}
      .encode(pdu.bhs);
  stream_.seal(proto::iscsi::Opcode::data_out);
  if (sequence.offset <= task.bytes_sent) task.bytes_sent = std::max(task.bytes_sent, sequence.offset + length);
  ++sequence.data_sn;
  sequence.offset += length;
  sequence.remaining -= length;
}

void Connection::requeue_task(Task& task) noexcept {
  if (task.queued_for_data) return;
  task.queued_for_data = true;
  task.next = nullptr;
  (data_last_ != nullptr ? data_last_->next : data_first_) = &task;
  data_last_ = &task;
}

void Connection::drop_data_out(Task& task) noexcept {
  if (!task.queued_for_data) return;
  Task* previous = nullptr;
  for (Task* at = data_first_; at != &task; at = at->next) previous = at;
  (previous != nullptr ? previous->next : data_first_) = task.next;
  if (data_last_ == &task) data_last_ = previous;
  task.queued_for_data = false;
  task.sequence_count = 0;
}

/// What was queued of a task's data but has not begun to be sent: a task that has ended needs none.
void Connection::drop_unsent_data(Task& task) {
  stream_.send_queue().drop_data(task, [this](Task* dropped) { session_.put_task(*dropped); });
}

void Connection::fill_send_queue() {
  if (tx_suspended_) return;
  Task* next = nullptr;
  for (Task* task = data_first_; task != nullptr && stream_.send_queue().room(); task = next) {
    next = task->next;
    // One whose data is withheld does not hold up those behind it.
    const bool withheld = !session_.escalation_.may_send_data(*task);
    while (task->sequence_count > 0 && stream_.send_queue().room()) {
      DataOutSequence& sequence = task->sequences[task->first_sequence];
      // Unsolicited data has been promised with the command, and that of later commands may not go before it (RFC
      // 7143 section 4.2.5.2): like the rest of the command it is under way already.
      if (withheld && sequence.ttt != proto::iscsi::kReservedTag) break;
      prep_data_out_pdu(*task, sequence);
      if (sequence.remaining > 0) continue;
      // One sequence is finished before the next begins, and R2Ts are served in the order in which they came.
      task->first_sequence = static_cast<std::uint8_t>((task->first_sequence + 1) % Task::kMaxR2ts);
      --task->sequence_count;
    }
    if (task->sequence_count == 0) drop_data_out(*task);
  }
}

}  // namespace nbdgw::initiator
