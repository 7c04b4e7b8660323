// The ladder with several connections: which one carries a function, what it covers, and who goes on meanwhile.
#include <doctest/doctest.h>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

namespace {

/// A command on this connection that the target has not acknowledged.
std::uint32_t unacknowledged(LadderPeer& peer, Job& job, std::uint16_t cid) {
  const auto command = peer.take(cid, Opcode::scsi_command).as<ScsiCommandPdu>();
  CHECK(command.lun == job.lun);
  return command.itt;
}

Job& on_its_way(LadderPeer& peer, std::uint64_t lun, std::uint16_t cid) {
  Job& job = peer.queue(Direction::none, 0, lun);
  unacknowledged(peer, job, cid);
  return job;
}

RecoveryRequest reset_of(std::uint64_t lun) {
  return {.id = 1, .rung = Rung::lu_reset, .lun = lun};
}

/// From now on this connection is the one that was heard last.
void hear(LadderPeer& peer, std::uint16_t cid) {
  peer.now += 1;
  peer.acknowledge(cid);
}

}  // namespace

TEST_CASE("connections: ABORT TASK goes the way of its task") {
  LadderPeer peer(3);
  Job* jobs[3];
  std::uint32_t itt[3];
  for (std::uint16_t cid = 0; cid < 3; ++cid) {
    jobs[cid] = &peer.queue(Direction::none, 0, cid == 1 ? kLun2 : kLun1);
    itt[cid] = peer.take_command(*jobs[cid], cid);
  }
  for (const std::uint16_t cid : {std::uint16_t{2}, std::uint16_t{0}, std::uint16_t{1}}) {
    CAPTURE(cid);
    hear(peer, static_cast<std::uint16_t>((cid + 1) % 3));  // which matters to resets only
    REQUIRE(peer.session.request_recovery({.id = 1U + cid, .rung = Rung::abort_task, .itt = itt[cid]}));
    const auto request = peer.tmf(Function::abort_task, cid);
    CHECK(request.lun == jobs[cid]->lun);
    CHECK(request.referenced_task_tag == itt[cid]);
    CHECK(request.ref_cmd_sn == 1U + cid);
    CHECK(peer.silent());
    peer.answer(request, Result::complete, cid);
    CHECK(jobs[cid]->outcome == Outcome::aborted);
    CHECK(peer.last_told().cid == cid);
  }
  peer.check_nothing_leaked();
}

TEST_CASE("connections: a reset goes where the target was heard last, and covers its tasks on all of them") {
  LadderPeer peer(asking_settings(3));
  Job* jobs[6];
  std::uint32_t itt[6];
  for (std::uint16_t i = 0; i < 6; ++i) {
    jobs[i] = &peer.queue(Direction::read, 200'000, i < 3 ? kLun1 : kLun2);
    itt[i] = peer.take_command(*jobs[i], i % 3);
  }
  peer.acknowledge(1);
  hear(peer, 2);
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  const auto request = peer.tmf(Function::logical_unit_reset, 2);
  CHECK(request.lun == kLun1);
  CHECK(request.referenced_task_tag == kReservedTag);
  CHECK(request.ref_cmd_sn == 0);
  // The other LUN works on: commands, data and answers, on every connection.
  for (std::uint16_t i = 3; i < 6; ++i) {
    const auto cid = static_cast<std::uint16_t>(i % 3);
    peer.deliver(cid, peer.data_in(cid, itt[i], 0, 0, Bytes(100'000), false));
    peer.deliver(cid, peer.data_in(cid, itt[i], 1, 100'000, Bytes(100'000), true));
    peer.respond(cid, itt[i]);
    CHECK(jobs[i]->outcome == Outcome::completed);
    Job& more = peer.queue(Direction::none, 0, kLun2);
    const std::uint16_t to = peer.busy();
    peer.serve(more, to);
    CHECK(more.outcome == Outcome::completed);
  }
  Job& held = peer.queue(Direction::none, 0, kLun1);
  CHECK(peer.silent());
  for (int i = 0; i < 3; ++i) CHECK(jobs[i]->outcome == Outcome::pending);
  peer.answer(request, Result::complete, 2);
  for (int i = 0; i < 3; ++i) CHECK(jobs[i]->outcome == Outcome::aborted);
  CHECK(peer.told() == Told{"lu_reset success 3"});
  CHECK(peer.last_told().cid == 2);
  const std::uint16_t cid = peer.busy();
  peer.serve(held, cid);
  CHECK(held.outcome == Outcome::completed);
  CHECK(peer.session.counters().late_answers == 0);
  peer.check_nothing_leaked();
}

TEST_CASE("connections: an answer on another connection than the function's costs the session its connections") {
  for (const auto function : {Function::abort_task, Function::logical_unit_reset}) {
    LadderPeer peer(2);
    Job& job = peer.queue(Direction::none, 0);
    const std::uint32_t itt = peer.take_command(job);
    peer.acknowledge();
    RecoveryRequest request = reset_of(kLun1);
    if (function == Function::abort_task) request = {.id = 1, .rung = Rung::abort_task, .itt = itt};
    REQUIRE(peer.session.request_recovery(request));
    peer.answer(peer.tmf(function), Result::complete, 1);
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::wrong_connection)));
    CHECK(job.outcome == Outcome::transport_disrupted);  // not aborted
    CHECK(peer.told()[0] == std::string(function == Function::abort_task ? "abort_task" : "lu_reset") + " failed 0");
    peer.relogin();
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("connections: a reset waits for what is on its way over another connection") {
  LadderPeer peer(asking_settings(2));
  Job& first = on_its_way(peer, kLun1, 0);
  Job& second = on_its_way(peer, kLun1, 1);
  hear(peer, 0);
  peer.answers_pings = false;
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  CHECK(peer.silent());
  REQUIRE(peer.unanswered_pings.size() == 1);  // the reset goes over connection 0, so only the other one is asked
  CHECK(peer.unanswered_pings[0].first == 1);
  CHECK(peer.session.next_deadline() == peer.now + kPingTimeout);
  Job& held = peer.queue(Direction::none, 0, kLun1);
  Job& other = peer.queue(Direction::none, 0, kLun2);
  peer.pump();
  CHECK(peer.idle(1));
  unacknowledged(peer, other, 0);  // nothing of the LUN leaves meanwhile; the others do not wait
  // That the commands are acknowledged is not enough: data might still be on its way.
  peer.exp_cmd_sn = 4;
  peer.acknowledge(0);
  peer.acknowledge(1);
  CHECK(peer.silent());
  peer.answer_pings();
  const auto request = peer.tmf(Function::logical_unit_reset, 0);
  peer.answer(request, Result::complete);
  CHECK(first.outcome == Outcome::aborted);
  CHECK(second.outcome == Outcome::aborted);
  CHECK(other.outcome == Outcome::pending);
  CHECK(peer.told() == Told{"lu_reset success 2"});
  CHECK(peer.last_told().proof == "LOGICAL UNIT RESET completed, behind NOP round 1");
  REQUIRE(second.proof.has_value());
  CHECK(second.proof->kind() == Proof::Kind::task_management);
  CHECK(second.proof->function() == Function::logical_unit_reset);
  CHECK(second.proof->round() == 1);
  CHECK(second.proof->group() == 1);
  CHECK(peer.pings == 1);  // asked once
  const std::uint16_t cid = peer.busy();
  peer.serve(held, cid);
  CHECK(held.outcome == Outcome::completed);
  CHECK(held.proof->kind() == Proof::Kind::answered);
}

TEST_CASE("connections: what has arrived is covered, though the target cannot acknowledge it yet") {
  LadderPeer peer(asking_settings(2));
  Job& elsewhere = on_its_way(peer, kLun2, 0);  // on its way still, ahead of the reset
  Job& behind = on_its_way(peer, kLun1, 1);
  hear(peer, 0);
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  const auto request = peer.tmf(Function::logical_unit_reset, 0);
  CHECK(peer.pings == 1);  // answered, but without a word of what went before it
  peer.answer(request, Result::complete);
  CHECK(behind.outcome == Outcome::aborted);
  CHECK(elsewhere.outcome == Outcome::pending);
  CHECK(peer.told() == Told{"lu_reset success 1"});
}

TEST_CASE("connections: what a reset waits for may end of itself") {
  LadderPeer peer(asking_settings(2));
  Job& first = on_its_way(peer, kLun1, 0);
  Job& second = peer.queue(Direction::none, 0);
  const std::uint32_t second_itt = unacknowledged(peer, second, 1);
  hear(peer, 0);
  peer.answers_pings = false;
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  CHECK(peer.silent());
  peer.now += 1;
  peer.respond(1, second_itt);
  CHECK(second.outcome == Outcome::completed);
  peer.answer(peer.tmf(Function::logical_unit_reset, 0), Result::complete);
  CHECK(peer.told() == Told{"lu_reset success 1"});
  CHECK(first.outcome == Outcome::aborted);
  // The ping is still to be answered in its time.
  peer.advance(kPingTimeout);
  CHECK(peer.saw(Kind::lost, describe(ConnectionError::nop_timed_out)));
}

TEST_CASE("connections: a round that is not answered in time costs the session its connections") {
  for (const bool by_hand : {true, false}) {
    CAPTURE(by_hand);
    LadderPeer peer(asking_settings(2));
    Job& here = peer.hang(Direction::read, 1000);
    Job& there = peer.hang(Direction::write, 1000, kLun1, 1);
    if (by_hand) {
      hear(peer, 0);
      peer.answers_pings = false;
      REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
    } else {
      peer.advance(kCommandTimeout + kPingTimeout);
      peer.told();
      peer.answers_pings = false;
      peer.answer(peer.tmf(Function::abort_task, 0), Result::rejected);
      CHECK(peer.told() == Told{"abort_task refused 0"});
    }
    peer.advance(kPingTimeout - 1);
    CHECK(peer.silent());
    CHECK(peer.session.state() == SessionState::logged_in);
    peer.advance(1);
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::nop_timed_out)));
    CHECK(peer.saw(Kind::lost, "whether all that was sent had arrived"));
    CHECK(peer.told() == Told{"lu_reset failed 0"});
    CHECK(here.outcome == Outcome::transport_disrupted);
    CHECK(there.outcome == Outcome::pending);  // all of its data was sent
  }
}

TEST_CASE("connections: a ping that is under way already does not count, nor does the answer to another round") {
  auto settings = asking_settings(2);
  settings.nop_interval = 3 * kSecond;
  LadderPeer peer(settings);
  Job& job = peer.hang(Direction::write, 1000);
  peer.acknowledge(0);
  peer.answers_pings = false;
  peer.advance(3 * kSecond);
  REQUIRE(peer.unanswered_pings.size() == 2);  // of the keep-alive
  hear(peer, 1);
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  CHECK(peer.silent());
  REQUIRE(peer.unanswered_pings.size() == 3);
  const auto last = peer.unanswered_pings.back();
  CHECK(last.first == 0);
  peer.unanswered_pings.pop_back();
  peer.answer_pings();
  CHECK(peer.silent());
  peer.unanswered_pings.push_back(last);
  peer.answer_pings();
  peer.answer(peer.tmf(Function::logical_unit_reset, 1), Result::complete, 1);
  CHECK(job.outcome == Outcome::aborted);
  CHECK(job.proof->round() == 1);
}

TEST_CASE("connections: a reset asks anew each time, and only those that carry what it is about") {
  LadderPeer peer(asking_settings(3));
  Job& job = peer.hang(Direction::read, 1000);
  Job& other = peer.hang(Direction::read, 1000, kLun2, 1);
  for (const std::uint16_t cid : kBothConnections) peer.acknowledge(cid);
  peer.answers_pings = false;
  for (std::uint32_t round = 1; round <= 2; ++round) {
    hear(peer, 2);
    REQUIRE(peer.session.request_recovery({.id = round, .rung = Rung::lu_reset, .lun = kLun1}));
    CHECK(peer.silent());
    REQUIRE(peer.unanswered_pings.size() == 1);
    CHECK(peer.unanswered_pings[0].first == 0);
    peer.answer_pings();
    peer.answer(peer.tmf(Function::logical_unit_reset, 2), round == 1 ? Result::rejected : Result::complete, 2);
  }
  CHECK(job.outcome == Outcome::aborted);
  CHECK(job.proof->round() == 2);
  // A reset of the target is about both, and about nothing on the connection that it goes over.
  hear(peer, 1);
  REQUIRE(peer.session.request_recovery({.id = 3, .rung = Rung::target_warm_reset}));
  peer.answer(peer.tmf(Function::target_warm_reset, 1), Result::complete, 1);
  CHECK(other.outcome == Outcome::aborted);
  CHECK(other.proof->round() == 0);
  CHECK(peer.pings == 2);
}

TEST_CASE("connections: a command missing in between is waited for, too") {
  LadderPeer peer(asking_settings(2));
  on_its_way(peer, kLun2, 0);                // CmdSN 1, to another LUN, on its way
  Job& behind = on_its_way(peer, kLun1, 1);  // CmdSN 2: may be parked at the target until 1 comes
  hear(peer, 1);
  peer.answers_pings = false;
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  CHECK(peer.silent());
  REQUIRE(peer.unanswered_pings.size() == 1);
  CHECK(peer.unanswered_pings[0].first == 0);
  SUBCASE("it arrives") {
    peer.exp_cmd_sn = 3;
    peer.answer_pings();
    peer.answer(peer.tmf(Function::logical_unit_reset, 1), Result::complete, 1);
    CHECK(behind.outcome == Outcome::aborted);
    CHECK(peer.told() == Told{"lu_reset success 1"});
  }
  SUBCASE("the target says that it has not: then what is behind it is not covered") {
    peer.answer_pings();
    peer.answer(peer.tmf(Function::logical_unit_reset, 1), Result::complete, 1);
    CHECK(behind.outcome == Outcome::pending);
    CHECK(peer.told() == Told{"lu_reset success 0"});
  }
}

TEST_CASE("connections: with one connection all that went before is covered, acknowledged or not") {
  for (const bool pings : {true, false}) {
    LadderPeer peer(pings ? asking_settings(1) : ladder_settings(1));
    Job* jobs[3];
    for (auto& job : jobs) {
      job = &peer.queue(Direction::none, 0);
      unacknowledged(peer, *job, 0);
    }
    REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::target_warm_reset}));
    peer.answer(peer.tmf(Function::target_warm_reset), Result::complete);
    for (const Job* job : jobs) CHECK(job->outcome == Outcome::aborted);
    CHECK(peer.told() == Told{"target_warm_reset success 3"});
    CHECK(peer.pings == 0);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("connections: without pings a reset by hand that others concern proves nothing, and says so") {
  LadderPeer peer(2);
  Job& first = peer.hang();
  Job& second = peer.hang(kLun1, 1);
  hear(peer, 0);
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  const std::uint16_t cid = peer.busy();
  peer.answer(peer.tmf(Function::logical_unit_reset, cid), Result::complete, cid);
  CHECK(first.outcome == Outcome::pending);
  CHECK(second.outcome == Outcome::pending);
  CHECK(peer.told() == Told{"lu_reset success 0"});
  CHECK(peer.last_told().cause.find("no task is handed back") != std::string::npos);
  CHECK(peer.last_told().proof.empty());
}

TEST_CASE("connections: without pings a reset goes where its tasks are, if that is one connection") {
  LadderPeer peer(3);
  Job& first = peer.hang();
  hear(peer, 2);
  REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
  peer.answer(peer.tmf(Function::logical_unit_reset, 0), Result::complete);
  CHECK(first.outcome == Outcome::aborted);
  CHECK(first.proof->round() == 0);
  CHECK(peer.last_told().proof == "LOGICAL UNIT RESET completed");
}

TEST_CASE("connections: without pings the ladder drops the session instead of a reset that proves nothing") {
  LadderPeer peer(2);
  Job& first = peer.hang(Direction::read, 1000);
  Job& second = peer.hang(Direction::write, 1000, kLun1, 1);
  peer.overdue();
  peer.told();
  peer.answer(peer.tmf(Function::abort_task, 0), Result::rejected);
  CHECK(peer.told() == Told{"abort_task refused 0", "session_reset success 2"});
  CHECK(peer.last_told().cause.find("pings are off") != std::string::npos);
  CHECK(peer.saw(Kind::lost, "pings are off"));
  CHECK(first.outcome == Outcome::transport_disrupted);
  CHECK(second.outcome == Outcome::pending);
}

TEST_CASE("connections: an abort does not wait, nor ask") {
  LadderPeer peer(asking_settings(2));
  Job& first = peer.queue(Direction::none, 0);
  const std::uint32_t itt = unacknowledged(peer, first, 0);
  Job& second = on_its_way(peer, kLun1, 1);
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::abort_task, .itt = itt}));
  peer.answer(peer.tmf(Function::abort_task), Result::complete);
  CHECK(first.outcome == Outcome::aborted);
  CHECK(second.outcome == Outcome::pending);
  CHECK(peer.pings == 0);
}

TEST_CASE("connections: under load a LUN is reset once, not for ever") {
  // A target that ends with a reset whatever has arrived, acknowledged or not, and tells of arrivals late.
  LadderPeer peer(asking_settings(4));
  for (int round = 0; round < 20; ++round) {
    std::vector<Job*> jobs;
    for (int i = 0; i < 8; ++i) jobs.push_back(&peer.queue(Direction::read, 100'000, kLun1));
    peer.pump();
    std::uint32_t arrived = peer.exp_cmd_sn;
    for (std::uint16_t cid = 0; cid < 4; ++cid) {
      for (; !peer.idle(cid); ++arrived) peer.take(cid, Opcode::scsi_command);
    }
    REQUIRE(peer.session.request_recovery(reset_of(kLun1)));
    peer.exp_cmd_sn = arrived;
    peer.pump();  // the answers to the pings tell
    const std::uint16_t cid = peer.busy();
    peer.answer(peer.tmf(Function::logical_unit_reset, cid), Result::complete, cid);
    for (const Job* job : jobs) CHECK(job->outcome == Outcome::aborted);
  }
  peer.check_nothing_leaked();
}
