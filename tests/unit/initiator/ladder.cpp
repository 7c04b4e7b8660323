#include "tests/unit/initiator/ladder.hpp"

#include <algorithm>
#include <utility>

namespace nbdgw::test {

using namespace proto::iscsi;
using initiator::Direction;
using initiator::Rung;

initiator::SessionSettings ladder_settings(std::uint16_t connections) {
  auto settings = default_settings(connections);
  settings.command_timeout = kCommandTimeout;
  settings.abort_timeout = kAbortTimeout;
  settings.lu_reset_timeout = kLuResetTimeout;
  settings.target_reset_timeout = kTargetResetTimeout;
  return settings;
}

initiator::SessionSettings asking_settings(std::uint16_t connections) {
  auto settings = ladder_settings(connections);
  settings.nop_interval = 1000 * proto::kSecond;
  settings.nop_timeout = kPingTimeout;
  return settings;
}

LadderPeer::LadderPeer(initiator::SessionSettings settings, TargetKeys with) : Peer(std::move(settings)) {
  keys = std::move(with);
  on_pdu = [this](std::uint16_t cid, const Pdu& pdu) {
    if (pdu.opcode() == Opcode::nop_out && pdu.as<NopOut>().itt != kReservedTag) {
      ++pings;
      if (!answers_pings) {
        unanswered_pings.emplace_back(cid, pdu);
        return;
      }
      send(cid, pong(cid, pdu.as<NopOut>().itt));
      return;
    }
    if (is_question(pdu)) {
      ++questions;
      next_cmd_sn = pdu.as<ScsiCommandPdu>().cmd_sn + 1;
      exp_cmd_sn = next_cmd_sn;
      if (answers_questions) send(cid, response(cid, pdu.as<ScsiCommandPdu>().itt));
      return;
    }
    if (pdu.opcode() == Opcode::scsi_command) next_cmd_sn = pdu.as<ScsiCommandPdu>().cmd_sn + 1;
    wire(cid).inbox.push_back(pdu);
  };
  start();
}

void LadderPeer::answer_pings() {
  for (const auto& [cid, ping] : std::exchange(unanswered_pings, {})) {
    send(cid, pong(cid, ping.as<NopOut>().itt));
  }
  pump();
}

Job& LadderPeer::queue(Direction direction, std::uint32_t length, std::uint64_t lun) {
  Job& job = jobs.make(direction, length, length > 0 ? 2 : 1);
  job.lun = lun;
  jobs.queue(job);
  return job;
}

std::uint32_t LadderPeer::take_command(Job& job, std::uint16_t cid) {
  const ScsiCommandPdu command = take_command(cid);
  CHECK(command.lun == job.lun);
  return command.itt;
}

Job& LadderPeer::hang(std::uint64_t lun, std::uint16_t cid) {
  return hang(Direction::none, 0, lun, cid);
}

Job& LadderPeer::hang(Direction direction, std::uint32_t length, std::uint64_t lun, std::uint16_t cid) {
  Job& job = queue(direction, length, lun);
  take_command(job, cid);
  return job;
}

void LadderPeer::work(std::uint64_t lun) {
  Job& job = queue(Direction::none, 0, lun);
  serve(job);
  REQUIRE(job.outcome == initiator::Outcome::completed);
}

proto::Micros LadderPeer::log_in_again() {
  const proto::Micros begin = now;
  for (int steps = 0; session.state() != initiator::SessionState::logged_in; ++steps) {
    REQUIRE(steps < 1000);
    if (wire(0).open) {
      login(0);
    } else {
      advance(10 * proto::kMillisecond);
    }
  }
  return now - begin;
}

TaskManagementRequest LadderPeer::tmf(std::uint16_t cid) {
  const auto request = take(cid, Opcode::task_management_request).as<TaskManagementRequest>();
  CHECK(request.immediate);
  CHECK(request.cmd_sn == next_cmd_sn);
  CHECK(request.exp_stat_sn == wire(cid).stat_sn);
  CHECK(request.itt != kReservedTag);
  CHECK(request.exp_data_sn == 0);
  return request;
}

TaskManagementRequest LadderPeer::tmf(TaskManagementFunction function, std::uint16_t cid) {
  const auto request = tmf(cid);
  CHECK(request.function == function);
  return request;
}

TaskManagementRequest LadderPeer::climb_to(Rung rung) {
  using enum TaskManagementFunction;
  std::uint16_t cid = busy();
  auto request = tmf(abort_task, cid);
  for (const auto& [next, function] :
       {std::pair(Rung::lu_reset, logical_unit_reset), std::pair(Rung::target_warm_reset, target_warm_reset)}) {
    if (rung < next) break;
    answer(request, TaskManagementResult::rejected, cid);
    cid = busy();
    request = tmf(function, cid);
  }
  return request;
}

void LadderPeer::answer(const TaskManagementRequest& request, TaskManagementResult result, std::uint16_t cid) {
  deliver(cid,
          make_pdu(TaskManagementResponse{.response = result, .itt = request.itt, .sequence = status_sequence(cid)}));
}

bool LadderPeer::silent() {
  pump();
  for (std::uint16_t cid = 0; cid < session.connection_count(); ++cid) {
    if (!idle(cid)) return false;
  }
  return true;
}

std::uint16_t LadderPeer::busy() {
  REQUIRE_FALSE(silent());
  std::uint16_t cid = 0;
  while (idle(cid)) ++cid;
  return cid;
}

std::vector<std::string> LadderPeer::told() {
  pump();
  std::vector<std::string> out;
  for (; told_ < recovery_events.size(); ++told_) {
    const auto& event = recovery_events[told_];
    out.push_back(std::string(to_string(event.rung)) + ' ' + to_string(event.outcome) + ' ' +
                  std::to_string(event.tasks));
  }
  return out;
}

}  // namespace nbdgw::test
