// What may leave while a task management function is under way, and what waits: commands and Data-Out, on every
// connection.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;

namespace {

SessionSettings settings_with(bool fast_abort, std::uint16_t connections) {
  auto settings = asking_settings(connections);
  settings.fast_abort = fast_abort;
  return settings;
}

/// Two writes to each of two LUNs: on each connection one to each LUN. All wait for R2Ts.
struct Writes : LadderPeer {
  explicit Writes(bool fast_abort) : LadderPeer(settings_with(fast_abort, 2), TargetKeys().solicited_only()) {
    for (const std::uint64_t lun : {kLun1, kLun2}) {
      for (const std::uint16_t cid : kBothConnections) {
        Job& job = queue(Direction::write, 200'000, lun);
        jobs_there.push_back(&job);
        itts.push_back(take_command(job, cid));
      }
    }
    acknowledge();
  }
  /// Asks for data of every task, and tells whose came: '.' none, 'd' data, in the order of jobs_there.
  std::string ask() {
    for (std::size_t i = 0; i < itts.size(); ++i) {
      const auto cid = static_cast<std::uint16_t>(i % 2);
      Pdu pdu = r2t(cid, itts[i], r2t_sn, r2t_sn * 1000, 1000, 1 + r2t_sn * 10 + static_cast<std::uint32_t>(i));
      deliver(cid, pdu);
    }
    ++r2t_sn;
    return data();
  }
  std::string data() {
    pump();
    std::string out(itts.size(), '.');
    for (const std::uint16_t cid : kBothConnections) {
      while (!idle(cid) && wire(cid).inbox.front().opcode() == Opcode::data_out) {
        const auto header = take(cid, Opcode::data_out).as<DataOut>();
        const auto at = std::find(itts.begin(), itts.end(), header.itt) - itts.begin();
        CHECK(at % 2 == cid);
        out[static_cast<std::size_t>(at)] = 'd';
      }
    }
    return out;
  }
  /// Queues a command for each LUN, and tells which left: '1', '2', both or neither.
  std::string commands() {
    std::string out;
    for (const std::uint64_t lun : {kLun1, kLun2}) queue(Direction::none, 0, lun);
    return sent_commands();
  }
  std::string sent_commands() {
    pump();
    std::string out;
    for (const std::uint16_t cid : kBothConnections) {
      while (!idle(cid) && wire(cid).inbox.front().opcode() == Opcode::scsi_command) {
        out += take(cid, Opcode::scsi_command).as<ScsiCommandPdu>().lun == kLun1 ? '1' : '2';
      }
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  std::vector<Job*> jobs_there;
  std::vector<std::uint32_t> itts;  // LUN 1 on both connections, then LUN 2
  std::uint32_t r2t_sn = 0;
};

struct Row {
  Rung rung;
  bool fast_abort;
  const char* data;      // of the four writes; the first is the one that is aborted
  const char* commands;  // of which LUN leave
};

const Row kRows[] = {
    {Rung::abort_task, true, ".ddd", "12"},       {Rung::abort_task, false, ".ddd", "12"},
    {Rung::lu_reset, true, "..dd", "2"},          {Rung::lu_reset, false, "dddd", "2"},
    {Rung::target_warm_reset, true, "....", ""},  {Rung::target_warm_reset, false, "dddd", ""},
    {Rung::abort_task_set, true, "..dd", "2"},    {Rung::clear_task_set, true, "..dd", "2"},
    {Rung::clear_task_set, false, "dddd", "2"},   {Rung::target_cold_reset, true, "....", ""},
    {Rung::target_cold_reset, false, "dddd", ""},
};

RecoveryRequest request_for(Rung rung, std::uint32_t itt) {
  RecoveryRequest request{.id = 1, .rung = rung, .itt = itt};
  if (rung == Rung::lu_reset || rung == Rung::abort_task_set || rung == Rung::clear_task_set) request.lun = kLun1;
  return request;
}

}  // namespace

TEST_CASE("withheld: commands and data of every connection, and they go on when the function was refused") {
  for (const Row& row : kRows) {
    const std::string name = to_string(row.rung);
    CAPTURE(name);
    CAPTURE(row.fast_abort);
    Writes peer(row.fast_abort);
    REQUIRE(peer.ask() == "dddd");
    REQUIRE(peer.commands() == "12");
    REQUIRE(peer.session.request_recovery(request_for(row.rung, peer.itts[0])));
    const auto request = peer.tmf();
    CHECK(peer.ask() == row.data);
    CHECK(peer.commands() == row.commands);
    peer.answer(request, Result::rejected);
    // What was withheld leaves now, and only that.
    std::string rest;
    for (const char* at = row.data; *at != '\0'; ++at) rest += *at == 'd' ? '.' : 'd';
    const std::string held = std::string(row.commands) == "12" ? "" : *row.commands == '2' ? "1" : "12";
    CHECK(peer.sent_commands() == held);
    CHECK(peer.data() == rest);
    CHECK(peer.ask() == "dddd");
    CHECK(peer.session.counters().losses == 0);
  }
}

TEST_CASE("withheld: while the function waits for room in the send queue, too") {
  for (const Row& row : kRows) {
    const std::string name = to_string(row.rung);
    CAPTURE(name);
    CAPTURE(row.fast_abort);
    Writes peer(row.fast_abort);
    for (const std::uint16_t cid : kBothConnections) peer.block(cid);
    REQUIRE(peer.session.request_recovery(request_for(row.rung, peer.itts[0])));
    peer.ask();
    for (const std::uint64_t lun : {kLun1, kLun2}) peer.queue(Direction::none, 0, lun);
    for (const std::uint16_t cid : kBothConnections) peer.unblock(cid);
    // Now there is room. The function leaves, and what it does not hold back.
    Pdu tmf;
    for (const std::uint16_t cid : kBothConnections) {
      auto& inbox = peer.wire(cid).inbox;
      const auto is_tmf = [](const Pdu& pdu) { return pdu.opcode() == Opcode::task_management_request; };
      if (const auto at = std::find_if(inbox.begin(), inbox.end(), is_tmf); at != inbox.end()) tmf = *at;
      std::erase_if(inbox, is_tmf);
      std::stable_partition(inbox.begin(), inbox.end(),
                            [](const Pdu& pdu) { return pdu.opcode() == Opcode::scsi_command; });
    }
    REQUIRE(tmf.opcode() == Opcode::task_management_request);
    CHECK(peer.sent_commands() == row.commands);
    CHECK(peer.data() == row.data);
  }
}

TEST_CASE("withheld: after success the data of ended tasks never leaves, that of others does") {
  Writes peer(true);
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
  const auto request = peer.tmf(Function::logical_unit_reset);
  // The sockets are full: what may leave waits in the send queues.
  for (const std::uint16_t cid : kBothConnections) peer.wire(cid).takes = false;
  CHECK(peer.ask() == "....");
  peer.answer(request, Result::complete);
  for (const std::size_t i : {0U, 1U}) {
    CHECK(peer.jobs_there[i]->outcome == Outcome::aborted);
    CHECK(peer.jobs_there[i]->finished == 1);  // nothing in a send queue points to its memory any more
  }
  for (const std::uint16_t cid : kBothConnections) peer.wire(cid).takes = true;
  CHECK(peer.data() == "..dd");
  CHECK(peer.commands() == "12");
  for (const std::size_t i : {2U, 3U}) CHECK(peer.jobs_there[i]->outcome == Outcome::pending);
}

TEST_CASE("withheld: a Data-Out that has begun to leave is finished, and arrives, before the reset leaves") {
  for (const std::size_t part : {std::size_t{1}, std::size_t{47}, std::size_t{48}, std::size_t{700}}) {
    CAPTURE(part);
    auto settings = settings_with(true, 2);
    require_digests(settings);
    LadderPeer peer(settings, TargetKeys().solicited_only().with_digests());
    Job& job = peer.queue(Direction::write, 30'000);
    const std::uint32_t itt = peer.take_command(job);
    peer.wire(0).takes = false;
    peer.deliver(0, peer.r2t(0, itt, 0, 0, 30'000, 5));  // four PDUs
    peer.wire(0).takes = true;
    peer.tx_chunk = part;
    REQUIRE(peer.transmit(0));
    peer.wire(0).takes = false;
    peer.tx_chunk = 1 << 16;
    peer.now += 1;
    peer.acknowledge(1);  // so that the reset goes this way
    REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
    CHECK(peer.silent());
    CHECK(peer.pings == 0);  // that is behind it
    peer.wire(0).takes = true;
    for (std::uint32_t data_sn = 0; data_sn < 4; ++data_sn) {  // what was queued goes out
      CHECK(peer.take(0, Opcode::data_out).as<DataOut>().data_sn == data_sn);
    }
    CHECK(peer.pings == 1);
    peer.answer(peer.tmf(Function::logical_unit_reset, 1), Result::complete, 1);
    CHECK(peer.told() == Told{"lu_reset success 1"});
    CHECK(job.outcome == Outcome::aborted);
    CHECK(job.finished == 1);
    Job& next = peer.queue(Direction::none, 0);
    peer.pump();
    const std::uint16_t to = peer.idle(0) ? 1 : 0;
    peer.serve(next, to);
    CHECK(next.outcome == Outcome::completed);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("withheld: not unsolicited data, which was promised with its command and keeps its order") {
  for (const Rung rung : {Rung::abort_task, Rung::lu_reset, Rung::target_warm_reset}) {
    const std::string name = to_string(rung);
    CAPTURE(name);
    TargetKeys keys;
    keys.answers["ImmediateData"] = "No";
    keys.answers["FirstBurstLength"] = "65536";
    LadderPeer peer(settings_with(true, 1), keys);
    peer.wire(0).takes = false;
    // The send queue is full long before all unsolicited data is in it.
    for (int i = 0; i < 30; ++i) peer.queue(Direction::write, 200'000, i < 15 ? kLun1 : kLun2);
    peer.pump();
    // All have arrived, it says, so that the reset need not wait.
    peer.deliver(0, make_pdu(NopIn{.sequence = {peer.wire(0).stat_sn, 31, 90}}));
    RecoveryRequest request{.id = 1, .rung = rung};
    if (rung == Rung::lu_reset) request.lun = kLun1;
    if (rung == Rung::abort_task) request.itt = (1U << TaskPool::kIndexBits) | 14;  // the fifteenth command's
    REQUIRE(peer.session.request_recovery(request));
    peer.wire(0).takes = true;
    peer.pump();
    std::vector<std::uint32_t> commands;
    std::vector<std::uint32_t> data;
    int functions = 0;
    for (const Pdu& pdu : peer.wire(0).inbox) {
      if (pdu.opcode() == Opcode::task_management_request) ++functions;
      if (pdu.opcode() == Opcode::scsi_command) commands.push_back(pdu.as<ScsiCommandPdu>().itt);
      if (pdu.opcode() == Opcode::data_out && pdu.as<DataOut>().final) data.push_back(pdu.as<DataOut>().itt);
    }
    CHECK(functions == 1);
    CHECK(commands.size() == 30);
    CHECK(data == commands);
  }
}

TEST_CASE("withheld: a reset while whose data flows proves nothing, and is repeated with the data withheld") {
  for (const Rung rung : {Rung::lu_reset, Rung::target_warm_reset}) {
    const std::string name = to_string(rung);
    CAPTURE(name);
    const Function function = rung == Rung::lu_reset ? Function::logical_unit_reset : Function::target_warm_reset;
    LadderPeer peer(settings_with(false, 1), TargetKeys().solicited_only());
    Job& job = peer.queue(Direction::write, 30'000);
    const std::uint32_t itt = peer.take_command(job);
    peer.acknowledge();
    peer.advance(kCommandTimeout);
    REQUIRE(job.overdue);
    auto request = peer.climb_to(rung);
    peer.told();
    bool flows = true;
    SUBCASE("data flows") {
      peer.deliver(0, peer.r2t(0, itt, 0, 0, 1000, 1));
      peer.take(0, Opcode::data_out);
    }
    SUBCASE("none does") {
      flows = false;
    }
    peer.answer(request, Result::complete);
    if (flows) {
      CHECK(job.outcome == Outcome::pending);
      CHECK(peer.told() == Told{name + " success 0"});
      CHECK(peer.last_told().cause.find("data flowed meanwhile") != std::string::npos);
      CHECK(peer.last_told().proof.empty());
      request = peer.tmf(function);
      peer.deliver(0, peer.r2t(0, itt, 1, 1000, 1000, 2));
      CHECK(peer.silent());  // withheld now
      peer.answer(request, Result::complete);
    }
    CHECK(job.outcome == Outcome::aborted);
    CHECK(peer.told() == Told{name + " success 1"});
    CHECK_FALSE(peer.last_told().proof.empty());
    CHECK(peer.silent());
    CHECK(peer.session.counters().losses == 0);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("withheld: by hand, a reset while whose data flows is not repeated, says so, and leaves the tasks") {
  Writes peer(false);
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
  const auto request = peer.tmf(Function::logical_unit_reset);
  CHECK(peer.ask() == "dddd");
  peer.answer(request, Result::complete);
  CHECK(peer.silent());
  CHECK(peer.told() == Told{"lu_reset success 0"});
  CHECK(peer.last_told().cause.find("no task is handed back") != std::string::npos);
  for (const Job* job : peer.jobs_there) CHECK(job->outcome == Outcome::pending);
  CHECK(peer.ask() == "dddd");
}
