// The model target's side of task management, and the trouble that it makes.
#include "proto/serial.hpp"
#include "tests/unit/initiator/model_target.hpp"

namespace nbdgw::test {

using namespace proto::iscsi;
using proto::serial_less;

void ModelTarget::task_management(std::uint16_t cid, const Pdu& pdu) {
  const auto request = pdu.as<TaskManagementRequest>();
  functions.push_back(request.function);
  CHECK(request.immediate);
  const auto last = last_cmd_sn_.find(cid);
  if (last != last_cmd_sn_.end()) CHECK(serial_less(last->second, request.cmd_sn));  // none that is used up
  const auto respond = [&](TaskManagementResult result) {
    peer_.send(cid, make_pdu(TaskManagementResponse{
                        .response = result, .itt = request.itt, .sequence = peer_.status_sequence(cid)}));
  };
  switch (tmf_answer ? tmf_answer(request) : TmfAnswer::by_the_book) {
    case TmfAnswer::by_the_book:
      respond(carry_out(cid, request));
      return;
    case TmfAnswer::refused:
      respond(random_() % 2 == 0 ? TaskManagementResult::not_supported : TaskManagementResult::rejected);
      return;
    case TmfAnswer::does_not_exist:
      respond(TaskManagementResult::task_does_not_exist);
      return;
    case TmfAnswer::rejected:
      peer_.send(cid, make_pdu(Reject{.reason = RejectReason::immediate_command_reject,
                                      .sequence = peer_.status_sequence(cid)},
                               Bytes(pdu.bhs.begin(), pdu.bhs.end())));
      return;
    case TmfAnswer::hangs:
      return;
  }
}

TaskManagementResult ModelTarget::carry_out(std::uint16_t cid, const TaskManagementRequest& request) {
  using enum TaskManagementFunction;
  if (request.function == abort_task) {
    const auto found = work_.find(request.referenced_task_tag);
    if (found == work_.end()) return TaskManagementResult::task_does_not_exist;
    CHECK(found->second.cid == cid);  // allegiance
    CHECK(found->second.lun == request.lun);
    CHECK(found->second.cmd_sn == request.ref_cmd_sn);
    end_by_function(found->second);
    work_.erase(found);
    return TaskManagementResult::complete;
  }
  CHECK(request.referenced_task_tag == kReservedTag);
  CHECK(request.ref_cmd_sn == 0);
  const bool all = request.function == target_warm_reset || request.function == target_cold_reset;
  CHECK((!all || request.lun == 0));
  if (request.function >= logical_unit_reset) {
    std::erase_if(inside_, [&](const auto& entry) { return all || entry.second == request.lun; });
  }
  std::erase_if(work_, [&](const auto& entry) {
    if (!all && entry.second.lun != request.lun) return false;
    end_by_function(entry.second);
    return true;
  });
  return TaskManagementResult::complete;
}

void ModelTarget::end_by_function(const Work& work) {
  std::erase(unsolicited_[work.cid], work.itt);
  over_.insert(work.itt);
  if (late_answers > 0 && random_() % late_answers == 0) answer_late(work);
}

/// What was as good as on its way when the task was ended: some data or an R2T, and its status. Ahead of the
/// function's answer the status is one that says so.
void ModelTarget::answer_late(const Work& work) {
  if (random_() % 2 == 0) {
    ++late_answers_sent;
    peer_.send(work.cid, peer_.response(work.cid, work.itt, 0x40));  // TASK ABORTED
    return;
  }
  if (work.write && work.asked < work.length) {
    ++late_answers_sent;
    later_.push_back([this, work] {
      peer_.send(work.cid, peer_.r2t(work.cid, work.itt, work.sequence, work.asked, 1, next_ttt_++));
    });
  } else if (!work.write && work.sent < work.length) {
    ++late_answers_sent;
    later_.push_back([this, work] {
      peer_.send(work.cid, peer_.data_in(work.cid, work.itt, work.sequence, work.sent,
                                         Bytes(up_to(work.length - work.sent)), false));
    });
  }
  if (random_() % 2 == 0) return;
  ++late_answers_sent;
  later_.push_back([this, work] { peer_.send(work.cid, peer_.response(work.cid, work.itt, 0x40)); });
}

}  // namespace nbdgw::test
