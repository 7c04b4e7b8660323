// Rungs that somebody asks for (Session::request_recovery): each is tried once, does not climb, and is told once.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

namespace {

/// The one event with this id; there must be exactly one.
RecoveryEvent event_of(Peer& peer, std::uint32_t id) {
  REQUIRE(peer.told_of(id) == 1);
  const auto& events = peer.recovery_events;
  return *std::find_if(events.begin(), events.end(),
                       [&](const RecoveryEvent& event) { return event.request_id == id; });
}

struct Row {
  Rung rung;
  Function function;
  RungScope scope;
  nbdgw::proto::Micros timeout;
  bool other_lun;   // tasks of another LUN are ended, too
  bool unit_reset;  // unit attentions follow
};

const Row kRows[] = {
    {Rung::abort_task, Function::abort_task, RungScope::task, kAbortTimeout, false, false},
    {Rung::abort_task_set, Function::abort_task_set, RungScope::lun, kAbortTimeout, false, false},
    {Rung::clear_task_set, Function::clear_task_set, RungScope::lun, kAbortTimeout, false, false},
    {Rung::lu_reset, Function::logical_unit_reset, RungScope::lun, kLuResetTimeout, false, true},
    {Rung::target_warm_reset, Function::target_warm_reset, RungScope::target, kTargetResetTimeout, true, true},
    {Rung::target_cold_reset, Function::target_cold_reset, RungScope::target, kTargetResetTimeout, true, false},
};

/// A command of each of two LUNs under way, and the rung asked for.
struct Asked {
  explicit Asked(const Row& row) : job(peer.queue(Direction::none, 0)), itt(peer.take_command(job)) {
    other = &peer.queue(Direction::none, 0, kLun2);
    other_itt = peer.take_command(*other);
    peer.acknowledge();
    peer.now += 1000;
    RecoveryRequest request{.id = 7, .rung = row.rung};
    if (row.scope == RungScope::lun) request.lun = kLun1;
    if (row.scope == RungScope::task) request.itt = itt;
    REQUIRE(peer.session.request_recovery(request));
    tmf = peer.tmf(row.function);
    CHECK(tmf.lun == (row.scope == RungScope::target ? 0 : kLun1));
    CHECK(tmf.referenced_task_tag == (row.scope == RungScope::task ? itt : kReservedTag));
    CHECK(tmf.ref_cmd_sn == (row.scope == RungScope::task ? 1 : 0));
    CHECK(peer.told_of(7) == 0);
  }

  LadderPeer peer;
  Job& job;
  std::uint32_t itt;
  Job* other = nullptr;
  std::uint32_t other_itt = 0;
  TaskManagementRequest tmf;
};

}  // namespace

TEST_CASE("by hand: each function, with each answer, and nothing climbs") {
  for (const Row& row : kRows) {
    for (const std::optional<Result> result :
         {std::optional(Result::complete), std::optional(Result::task_does_not_exist),
          std::optional(Result::lun_does_not_exist), std::optional(Result::not_supported),
          std::optional(Result::rejected), std::optional<Result>()}) {
      const std::string name = to_string(row.rung);
      CAPTURE(name);
      const int code = result ? static_cast<int>(*result) : -1;
      CAPTURE(code);
      Asked asked(row);
      LadderPeer& peer = asked.peer;
      const auto at = peer.now;
      peer.now += 5000;
      if (result) {
        peer.answer(asked.tmf, *result);
      } else {
        Pdu rejected = make_pdu(asked.tmf);
        peer.reject(rejected, RejectReason::immediate_command_reject);
      }
      const RecoveryEvent event = event_of(peer, 7);
      const bool success = result == Result::complete;
      CHECK(event.outcome == (success                                 ? RungOutcome::success
                              : result == Result::task_does_not_exist ? RungOutcome::not_found
                                                                      : RungOutcome::refused));
      CHECK(event.tasks == (success ? row.other_lun ? 2 : 1 : 0));
      CHECK(event.rung == row.rung);
      CHECK(event.scope == row.scope);
      CHECK(event.lun == (row.scope == RungScope::target ? RecoveryEvent::kNoLun : kLun1));
      CHECK(event.cid == 0);
      CHECK(event.tsih == Peer::kTsih);
      CHECK(event.cause == "asked for by hand");
      CHECK(event.ended_at == at + 5000);
      CHECK(event.duration == 5000);
      CHECK(peer.saw(Kind::unit_reset) == (success && row.unit_reset));
      CHECK(asked.job.outcome == (success ? Outcome::aborted : Outcome::pending));
      CHECK_FALSE(asked.job.overdue);
      CHECK(asked.other->outcome == (success && row.other_lun ? Outcome::aborted : Outcome::pending));
      CHECK(peer.silent());  // no next rung
      CHECK(peer.session.state() == SessionState::logged_in);
      // What was not ended is answered as ever.
      if (asked.job.outcome == Outcome::pending) peer.respond(0, asked.itt);
      if (asked.other->outcome == Outcome::pending) peer.respond(0, asked.other_itt);
      CHECK(peer.session.counters().late_answers == 0);
      peer.check_nothing_leaked();
    }
  }
}

TEST_CASE("by hand: a function that is not answered drops the session, and is told once") {
  for (const Row& row : kRows) {
    const std::string name = to_string(row.rung);
    CAPTURE(name);
    Asked asked(row);
    LadderPeer& peer = asked.peer;
    peer.advance(row.timeout - 1);
    CHECK(peer.session.state() == SessionState::logged_in);
    CHECK(peer.told_of(7) == 0);
    peer.advance(1);
    const RecoveryEvent event = event_of(peer, 7);
    CHECK(event.rung == row.rung);
    CHECK(event.outcome == RungOutcome::timed_out);
    CHECK(event.duration == row.timeout);
    CHECK(peer.told() == Told{name + " timed_out 0", "session_reset success 2"});
    CHECK(peer.last_told().cause == name + " was not answered in time");
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::session_reset)));
    for (const Job* job : {&asked.job, asked.other}) CHECK(job->outcome == Outcome::transport_disrupted);
    CHECK_FALSE(peer.saw(Kind::unit_reset));
    peer.relogin();
    CHECK(peer.told() == Told{"relogin success 2"});
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("by hand: a session reset") {
  LadderPeer peer(2);
  Job& job = peer.hang();
  peer.queue(Direction::none, 0, kLun2);
  peer.pump();
  REQUIRE(peer.session.request_recovery({.id = 3, .rung = Rung::session_reset}));
  const RecoveryEvent event = event_of(peer, 3);
  CHECK(event.rung == Rung::session_reset);
  CHECK(event.scope == RungScope::session);
  CHECK(event.outcome == RungOutcome::success);
  CHECK(event.tasks == 2);
  CHECK(job.outcome == Outcome::transport_disrupted);
  CHECK_FALSE(job.overdue);
  CHECK(peer.saw(Kind::lost, "asked for by hand"));
  for (const std::uint16_t cid : kBothConnections) CHECK(peer.wire(cid).closes == 1);
  peer.relogin();
  CHECK(peer.told() == Told{"session_reset success 2", "relogin success 2"});
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("by hand: a tag that is no command's, and one whose command has ended") {
  LadderPeer peer;
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  peer.respond(0, itt);
  std::uint32_t id = 1;
  for (const std::uint32_t unknown : {itt, std::uint32_t{0}, kReservedTag, itt + 1}) {
    REQUIRE(peer.session.request_recovery({.id = id, .rung = Rung::abort_task, .itt = unknown}));
    const RecoveryEvent event = event_of(peer, id++);
    CHECK(event.outcome == RungOutcome::not_found);
    CHECK(event.scope == RungScope::task);
    CHECK(peer.silent());
  }
}

TEST_CASE("by hand: the tag of another function is no command's") {
  LadderPeer peer;
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
  const auto first = peer.tmf();
  REQUIRE(peer.session.request_recovery({.id = 2, .rung = Rung::abort_task, .itt = first.itt}));
  peer.answer(first, Result::complete);
  CHECK(event_of(peer, 2).outcome == RungOutcome::not_found);
  CHECK(peer.silent());
}

TEST_CASE("by hand: one after the other, in the order in which they were asked for, and not more than fit") {
  LadderPeer peer;
  for (std::uint32_t id = 1; id <= Escalation::kMaxRequests; ++id) {
    REQUIRE(peer.session.request_recovery({.id = id, .rung = Rung::lu_reset, .lun = id}));
  }
  CHECK_FALSE(peer.session.request_recovery({.id = 99, .rung = Rung::session_reset}));
  for (std::uint32_t id = 1; id <= Escalation::kMaxRequests; ++id) {
    const auto request = peer.tmf(Function::logical_unit_reset);
    CHECK(request.lun == id);
    CHECK(peer.silent());  // one at a time
    if (id == 1) {         // the first is under way and waits no more
      CHECK(peer.session.request_recovery({.id = 17, .rung = Rung::abort_task}));
      CHECK_FALSE(peer.session.request_recovery({.id = 99, .rung = Rung::session_reset}));
    }
    peer.answer(request, id % 2 == 0 ? Result::complete : Result::rejected);
    CHECK(event_of(peer, id).lun == id);
  }
  CHECK(event_of(peer, 17).outcome == RungOutcome::not_found);
  CHECK(peer.told_of(99) == 0);
  CHECK(peer.silent());
}

TEST_CASE("by hand: nothing is taken while the session is not logged in") {
  LadderPeer peer;
  const RecoveryRequest request{.id = 1, .rung = Rung::session_reset};
  peer.auto_connect = false;
  peer.disconnect(0);
  CHECK_FALSE(peer.session.request_recovery(request));
  peer.pump();
  CHECK_FALSE(peer.session.request_recovery(request));
  peer.connect(0);
  CHECK_FALSE(peer.session.request_recovery(request));
  peer.relogin();
  peer.session.teardown(peer.now);
  CHECK(peer.session.state() == SessionState::logging_out);
  CHECK_FALSE(peer.session.request_recovery(request));
  peer.answer_logout();
  CHECK_FALSE(peer.session.request_recovery(request));
  Peer fresh;
  CHECK_FALSE(fresh.session.request_recovery(request));
  CHECK(peer.told() == Told{"relogin success 0"});
}

TEST_CASE("by hand: those that wait, and the one under way, learn that the session was lost") {
  for (const int how : {0, 1, 2}) {
    CAPTURE(how);
    LadderPeer peer(2);
    Job& job = peer.hang();
    REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::abort_task_set, .lun = kLun1}));
    const auto under_way = peer.tmf(Function::abort_task_set);
    REQUIRE(peer.session.request_recovery({.id = 2, .rung = Rung::target_warm_reset}));
    REQUIRE(peer.session.request_recovery({.id = 3, .rung = Rung::lu_reset, .lun = kLun2}));
    REQUIRE(peer.session.request_recovery({.id = 4, .rung = Rung::session_reset}));
    if (how == 0) {
      peer.disconnect(1);
    } else if (how == 1) {
      peer.session.teardown(peer.now);
      const auto logout = peer.take(0, Opcode::logout_request).as<LogoutRequest>();
      peer.answer(under_way, Result::complete);  // too late: what counts is the logout
      CHECK(peer.told_of(1) == 0);
      peer.answer_logout(logout);
    } else {
      // The answer and the end of the connection come in one turn.
      peer.send(0, make_pdu(TaskManagementResponse{.itt = under_way.itt, .sequence = peer.status_sequence(0)}));
      peer.send(0, peer.response(0, 0x1234));
    }
    for (std::uint32_t id = 1; id <= 4; ++id) CHECK(event_of(peer, id).outcome == RungOutcome::failed);
    CHECK(event_of(peer, 2).scope == RungScope::target);
    CHECK(event_of(peer, 3).scope == RungScope::lun);
    CHECK(event_of(peer, 3).lun == kLun2);
    CHECK(event_of(peer, 4).scope == RungScope::session);
    CHECK((job.outcome == (how == 1 ? Outcome::path_lost : Outcome::transport_disrupted)));
    if (how != 1) {
      peer.relogin();
      check_works(peer);
    }
    CHECK_FALSE(peer.saw(Kind::unit_reset));
    peer.check_nothing_leaked();
  }
}

TEST_CASE("by hand: a session reset that was asked for first ends the others") {
  LadderPeer peer;
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::session_reset}));
  REQUIRE(peer.session.request_recovery({.id = 2, .rung = Rung::lu_reset, .lun = kLun1}));
  CHECK(event_of(peer, 1).outcome == RungOutcome::success);
  CHECK(event_of(peer, 2).outcome == RungOutcome::failed);
  peer.relogin();
  CHECK(peer.silent());
}

TEST_CASE("by hand: an abort of a command that the ladder climbs for next") {
  LadderPeer peer;
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  peer.advance(kCommandTimeout - 1);
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::abort_task, .itt = itt}));
  const auto by_hand = peer.tmf(Function::abort_task);
  peer.advance(1);
  CHECK(peer.told() == Told{"timeout success 1"});
  peer.answer(by_hand, Result::rejected);
  CHECK(event_of(peer, 1).outcome == RungOutcome::refused);
  const auto own = peer.tmf(Function::abort_task);  // and that one climbs
  CHECK(own.referenced_task_tag == itt);
  peer.answer(own, Result::rejected);
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  CHECK(job.outcome == Outcome::aborted);
  CHECK(job.overdue);
  CHECK(peer.told() == Told{"abort_task refused 0", "abort_task refused 0", "lu_reset success 1"});
  peer.check_nothing_leaked();
}

TEST_CASE(
    "by hand: a connection is dropped, and its session with it; the tasks come back, and the way back is told") {
  LadderPeer peer;
  Job& job = peer.hang();
  Job& other = peer.hang(kLun2);
  CHECK_FALSE(peer.session.drop_connection(7, "by hand", peer.now));
  REQUIRE(peer.session.drop_connection(0, "by hand", peer.now));
  peer.pump();
  CHECK(job.outcome == Outcome::transport_disrupted);
  CHECK(other.outcome == Outcome::transport_disrupted);
  CHECK(peer.session.counters().losses == 1);
  CHECK_FALSE(peer.session.drop_connection(0, "by hand", peer.now));  // it is on its way back
  const auto climbing = peer.session.escalation().climbing();
  REQUIRE(climbing.has_value());
  CHECK(climbing->rung == Rung::relogin);
  CHECK(climbing->cause.find("dropped by an operator (by hand)") != std::string::npos);
}

TEST_CASE("by hand: what is climbed can be seen from its beginning to its end, and so can what the window allows") {
  LadderPeer peer;
  CHECK_FALSE(peer.session.escalation().climbing());
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  CHECK(peer.session.cmd_sn() == 2);
  CHECK(peer.session.find_task(itt) != nullptr);
  CHECK(peer.session.find_task(itt + 1) == nullptr);
  CHECK(peer.session.tsih() == Peer::kTsih);
  CHECK(peer.session.connection(0).portal().port == peer.wire(0).portal.port);
  peer.acknowledge();
  CHECK(peer.session.exp_cmd_sn() == 2);
  const nbdgw::proto::Micros began = peer.now;
  REQUIRE(peer.session.request_recovery({.id = 3, .rung = Rung::lu_reset, .lun = kLun1}));
  const TaskManagementRequest request = peer.tmf(Function::logical_unit_reset);
  peer.now += 1000;
  const auto climb = peer.session.escalation().climbing();
  REQUIRE(climb.has_value());
  CHECK(climb->rung == Rung::lu_reset);
  CHECK(climb->lun == kLun1);
  CHECK(climb->request_id == 3);
  CHECK(climb->started_at == began);
  peer.answer(request, Result::complete);
  peer.pump();
  CHECK(event_of(peer, 3).outcome == RungOutcome::success);
  CHECK_FALSE(peer.session.escalation().climbing());
  CHECK(peer.session.find_task(itt) == nullptr);
}

TEST_CASE("by hand: which requests can be asked for, and how many may wait") {
  for (const Row& row : kRows) {
    CAPTURE(to_string(row.rung));
    CHECK(can_be_asked_for({.id = 1, .rung = row.rung}) == (row.scope != RungScope::lun));
    CHECK(can_be_asked_for({.id = 1, .rung = row.rung, .lun = kLun1}));
  }
  CHECK(can_be_asked_for({.id = 1, .rung = Rung::session_reset}));
  CHECK_FALSE(can_be_asked_for({.id = 1, .rung = Rung::timeout}));
  CHECK_FALSE(can_be_asked_for({.id = 1, .rung = Rung::relogin}));
  LadderPeer peer;
  for (std::uint32_t i = 1; i <= Escalation::kMaxRequests; ++i) {
    CHECK(peer.session.escalation().takes_requests());
    REQUIRE(peer.session.request_recovery({.id = i, .rung = Rung::target_warm_reset}));
  }
  CHECK_FALSE(peer.session.escalation().takes_requests());
  CHECK_FALSE(peer.session.request_recovery({.id = 99, .rung = Rung::target_warm_reset}));
}

TEST_CASE("by hand: one connection of several is dropped: all go, the reason is told, and all come back") {
  LadderPeer peer(3);
  REQUIRE(peer.session.drop_connection(2, "by hand", peer.now));
  CHECK(peer.session.state() == SessionState::failed);
  CHECK(peer.session.trouble().find("connection 2") != std::string::npos);
  CHECK(peer.session.trouble().find("dropped by an operator") != std::string::npos);
  peer.pump();
  for (std::uint16_t cid = 0; cid < 3; ++cid) CHECK(peer.wire(cid).closes == 1);
  CHECK_FALSE(peer.session.escalation().takes_requests());
}
