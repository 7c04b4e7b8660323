#include "tests/unit/initiator/model_target.hpp"

#include <algorithm>

#include "proto/bytes/endian.hpp"
#include "proto/serial.hpp"

namespace nbdgw::test {

using namespace proto::iscsi;
using proto::serial_less;

ModelTarget::ModelTarget(Peer& peer, std::uint64_t seed) : peer_(peer), random_(seed) {
  peer.on_pdu = [this](std::uint16_t cid, const Pdu& pdu) { on_pdu(cid, pdu); };
  peer.on_connect = [this](std::uint16_t cid) { on_connect(cid); };
  peer.jobs.on_aborted = peer.jobs.on_disrupted = [this](const Job& job) { check_over(job); };
}

/// Handed back: then the target has forgotten it, and nothing of it is on its way, or it does no harm.
void ModelTarget::check_over(const Job& job) {
  using Kind = initiator::Proof::Kind;
  REQUIRE(job.proof.has_value());
  const Kind kind = job.proof->kind();
  CHECK(inside_.count(job.number) == 0);
  if (job.outcome == initiator::Outcome::aborted) {
    CHECK(kind == Kind::task_management);
  } else if (kind == Kind::harmless) {
    CHECK(job.direction != initiator::Direction::write);
    return;
  } else if (kind == Kind::never_sent) {
    return;  // an earlier sending of it may be over long ago, but is not in anybody's hands
  }
  for (const auto& [itt, work] : work_) CHECK(work.number != job.number);
  for (const auto& [cid, pdus] : socket_) {
    for (const Pdu& pdu : pdus) {
      if (pdu.opcode() == Opcode::scsi_command)
        CHECK(proto::load_be64(&pdu.as<ScsiCommandPdu>().cdb[2]) != job.number);
      if (pdu.opcode() == Opcode::data_out) CHECK_FALSE(belongs_to(pdu, job));
    }
  }
}

bool ModelTarget::belongs_to(const Pdu& pdu, const Job& job) const {
  const auto owner = number_of_.find(pdu.as<DataOut>().itt);
  return owner != number_of_.end() && owner->second == job.number;
}

void ModelTarget::on_pdu(std::uint16_t cid, const Pdu& pdu) {
  if (pdu.opcode() == Opcode::scsi_command) {
    const auto header = pdu.as<ScsiCommandPdu>();
    number_of_[header.itt] = proto::load_be64(&header.cdb[2]);
  }
  if (lags || !socket_[cid].empty()) {
    socket_[cid].push_back(pdu);
  } else {
    take(cid, pdu);
  }
}

/// False: there is nothing to be read.
bool ModelTarget::read_socket() {
  bool any = false;
  for (auto& [cid, pdus] : socket_) {
    if (!peer_.wire(cid).open) pdus.clear();
    for (; !pdus.empty() && (!lags || random_() % 3 == 0);) {
      const Pdu pdu = std::move(pdus.front());
      pdus.pop_front();
      take(cid, pdu);
    }
    any = any || !pdus.empty();
  }
  return any;
}

TargetKeys ModelTarget::keys(std::uint16_t connections) const {
  TargetKeys keys;
  keys.answers["MaxConnections"] = std::to_string(connections);
  keys.answers["InitialR2T"] = initial_r2t ? "Yes" : "No";
  keys.answers["ImmediateData"] = immediate_data ? "Yes" : "No";
  keys.answers["MaxBurstLength"] = std::to_string(max_burst);
  keys.answers["FirstBurstLength"] = std::to_string(first_burst);
  keys.answers["MaxOutstandingR2T"] = std::to_string(max_outstanding_r2t);
  return keys;
}

void ModelTarget::on_connect(std::uint16_t cid) {
  socket_[cid].clear();
  if (cid != 0) return;
  socket_.clear();
  for (const auto& [itt, work] : work_) {
    if (!goes_on_inside || !work.write || work.fails || work.data.size() < work.length) continue;
    ++went_on;
    inside_[work.number] = work.lun;
  }
  // The login that follows reinstates the session: its tasks are forgotten.
  work_.clear();
  unsolicited_.clear();
  received_ahead_.clear();
  last_cmd_sn_.clear();
  over_.clear();
  later_.clear();
}

void ModelTarget::take(std::uint16_t cid, const Pdu& pdu) {
  const std::uint32_t itt = proto::load_be32(&pdu.bhs[16]);
  switch (pdu.opcode()) {
    case Opcode::login_request:
      peer_.window = window;
      peer_.answer_login(cid, pdu);
      return;
    case Opcode::scsi_command:
      command(cid, pdu);
      return;
    case Opcode::data_out:
      data_out(cid, pdu);
      return;
    case Opcode::nop_out:
      CHECK(pdu.as<NopOut>().immediate);
      if (itt != kReservedTag) peer_.send(cid, peer_.pong(cid, itt));
      return;
    case Opcode::logout_request:
      CHECK(pdu.as<LogoutRequest>().reason == LogoutReason::close_session);
      peer_.send(cid, make_pdu(LogoutResponse{.itt = itt, .sequence = peer_.status_sequence(cid)}));
      return;
    case Opcode::task_management_request:
      task_management(cid, pdu);
      return;
    default:
      FAIL("the initiator sent opcode " << static_cast<int>(pdu.opcode()));
  }
}

void ModelTarget::take_cmd_sn(std::uint16_t cid, std::uint32_t cmd_sn) {
  const auto last = last_cmd_sn_.find(cid);
  if (last != last_cmd_sn_.end()) CHECK(serial_less(last->second, cmd_sn));  // increasing on each connection
  last_cmd_sn_[cid] = cmd_sn;
  CHECK_FALSE(serial_less(cmd_sn, peer_.exp_cmd_sn));     // never twice
  CHECK(serial_less(cmd_sn, peer_.exp_cmd_sn + window));  // inside the window
  CHECK(received_ahead_.insert(cmd_sn).second);
  while (received_ahead_.erase(peer_.exp_cmd_sn) == 1) ++peer_.exp_cmd_sn;
}

void ModelTarget::command(std::uint16_t cid, const Pdu& pdu) {
  const auto header = pdu.as<ScsiCommandPdu>();
  ++commands;
  ++commands_on[cid];
  take_cmd_sn(cid, header.cmd_sn);
  CHECK_FALSE(header.immediate);
  CHECK_FALSE(serial_less(peer_.wire(cid).stat_sn, header.exp_stat_sn));  // acknowledges nothing that was not sent
  CHECK(work_.count(header.itt) == 0);                                    // unique over the session
  over_.erase(header.itt);
  Work& work = work_[header.itt];
  work.cid = cid;
  work.itt = header.itt;
  work.number = proto::load_be64(&header.cdb[2]);
  work.lun = header.lun;
  work.cmd_sn = header.cmd_sn;
  if (is_question(pdu)) {
    ++questions;
    return;
  }
  const Job& job = *peer_.jobs.all.at(work.number - 1);
  CHECK(job.finished == job.queued - 1);  // nobody has it back
  CHECK(job.lun == header.lun);
  work.hangs = hang_once.erase(work.number) == 1 || (hangs > 0 && random_() % hangs == 0);
  if (work.hangs) ++hung;
  work.write = header.write;
  work.length = header.expected_length;
  if (!header.write) {
    CHECK(header.final);
    CHECK(pdu.data.empty());
    return;
  }
  const std::uint32_t burst = std::min(first_burst, work.length);
  const std::uint32_t most = std::min(burst, peer_.keys.max_recv);
  CHECK(pdu.data.size() == (immediate_data ? most : 0));
  work.data = pdu.data;
  const auto immediate = static_cast<std::uint32_t>(pdu.data.size());
  // F: no unsolicited data follows. It must not before its command can be begun: there are targets that have nowhere
  // to put it.
  const bool in_order = serial_less(header.cmd_sn, peer_.exp_cmd_sn);
  work.unsolicited = !header.final;
  if (work.unsolicited) CHECK(in_order);
  if (work.unsolicited) CHECK_FALSE(initial_r2t);
  if (work.unsolicited) CHECK(burst > immediate);
  work.asked = work.unsolicited ? burst : immediate;
  if (work.unsolicited) {
    work.bursts.push_back({.ttt = kReservedTag, .offset = immediate, .length = burst - immediate});
    unsolicited_[cid].push_back(work.itt);
  }
  work.fails = early_failures > 0 && random_() % early_failures == 0;
}

void ModelTarget::data_out(std::uint16_t cid, const Pdu& pdu) {
  const auto header = pdu.as<DataOut>();
  ++data_outs;
  if (over_.count(header.itt) == 1) return;  // of a command that is over: on its way before it knew
  const auto found = work_.find(header.itt);
  REQUIRE(found != work_.end());
  Work& work = found->second;
  CHECK(work.cid == cid);  // allegiance
  REQUIRE(work.write);
  REQUIRE_FALSE(work.bursts.empty());
  Burst& burst = work.bursts.front();  // R2Ts are answered in order, unsolicited data before all of them
  CHECK(header.ttt == burst.ttt);
  CHECK(header.data_sn == burst.data_sn);
  CHECK(header.buffer_offset == burst.offset + burst.done);
  CHECK(header.lun == work.lun);
  CHECK(pdu.data.size() <= peer_.keys.max_recv);
  CHECK_FALSE(pdu.data.empty());
  if (burst.ttt == kReservedTag) {
    CHECK(unsolicited_[cid].front() == work.itt);  // in the order of the commands, RFC 7143 section 4.2.5.2
  }
  const auto length = static_cast<std::uint32_t>(pdu.data.size());
  REQUIRE(burst.done + length <= burst.length);
  CHECK(work.data.size() == header.buffer_offset);
  work.data.insert(work.data.end(), pdu.data.begin(), pdu.data.end());
  burst.done += length;
  ++burst.data_sn;
  CHECK(header.final == (burst.done == burst.length));
  if (burst.done < burst.length) {
    CHECK(length == peer_.keys.max_recv);  // no PDU smaller than need be
    return;
  }
  if (burst.ttt == kReservedTag) {
    unsolicited_[cid].pop_front();
    work.unsolicited = false;
  }
  work.bursts.pop_front();
}

void ModelTarget::go_on_with_read(Work& work) {
  const std::uint32_t n = std::min(up_to(max_data_in), work.length - work.sent);
  Bytes bytes(n);
  fill_pattern(work.number, work.sent, bytes);
  DataIn header{.itt = work.itt,
                .sequence = peer_.plain_sequence(work.cid),
                .data_sn = work.sequence++,
                .buffer_offset = work.sent};
  work.sent += n;
  header.final = work.sent == work.length || random_() % 8 == 0;
  if (work.sent == work.length && random_() % 2 == 0) {
    header.has_status = true;
    header.sequence = peer_.status_sequence(work.cid);
    peer_.send(work.cid, make_pdu(header, std::move(bytes)));
    work_.erase(work.itt);
    return;
  }
  peer_.send(work.cid, make_pdu(header, std::move(bytes)));
}

void ModelTarget::finish(Work& work) {
  const std::uint16_t cid = work.cid;
  if (work.fails) {
    peer_.send(cid, peer_.response(cid, work.itt, 2, {0, 2, 0x70, 0}));
    over_.insert(work.itt);
    std::erase(unsolicited_[cid], work.itt);
  } else {
    peer_.send(cid, peer_.response(cid, work.itt));
    if (work.write) written[work.number] = work.data;
  }
  work_.erase(work.itt);
}

bool ModelTarget::act() {
  if (read_socket() && random_() % 2 == 0) return true;
  if (!later_.empty() && random_() % 3 == 0) {
    const auto answer = std::move(later_.front());
    later_.erase(later_.begin());
    answer();
    return true;
  }
  // Any one of the tasks that do not wait for the initiator.
  std::vector<Work*> able;
  for (auto& [itt, work] : work_) {
    const bool waits = work.write && !work.fails && work.data.size() < work.length &&
                       (work.asked == work.length || work.bursts.size() >= max_outstanding_r2t);
    if (!waits && !work.hangs) able.push_back(&work);
  }
  if (able.empty()) return !later_.empty() || read_socket();
  Work& work = *able[random_() % able.size()];
  if (!work.write && work.sent < work.length) {
    go_on_with_read(work);
  } else if (!work.fails && work.write && work.asked < work.length) {
    const std::uint32_t length = std::min(up_to(max_burst), work.length - work.asked);
    work.bursts.push_back({.ttt = next_ttt_++, .offset = work.asked, .length = length});
    most_r2ts = std::max(most_r2ts, work.bursts.size() - (work.unsolicited ? 1 : 0));
    peer_.send(work.cid, peer_.r2t(work.cid, work.itt, work.sequence++, work.asked, length, work.bursts.back().ttt));
    work.asked += length;
    ++r2ts;
  } else {
    finish(work);
  }
  return true;
}

void ModelTarget::run() {
  peer_.pump();
  for (int steps = 0;; ++steps) {
    REQUIRE(steps < 1'000'000);
    // Sometimes several things happen at the target before the initiator hears of the first.
    const unsigned burst = 1 + static_cast<unsigned>(random_() % 4);
    bool any = false;
    for (unsigned i = 0; i < burst; ++i) any = act() || any;
    if (!any && !peer_.turn()) return;
    if (random_() % 2 == 0) peer_.turn();
  }
}

}  // namespace nbdgw::test
