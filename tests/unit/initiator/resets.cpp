// The rungs above ABORT TASK: LOGICAL UNIT RESET, TARGET WARM RESET, the session's reset (iscsi_eh_device_reset,
// _target_reset, _recover_target, _session_reset).
#include <doctest/doctest.h>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

namespace {

struct RungRow {
  Rung rung;
  const char* name;
  Function function;
  Micros timeout;
  const char* next;  // what a refusal leads to, as an event if that one is refused or done as well
};

const RungRow kRungs[] = {
    {Rung::lu_reset, "lu_reset", Function::logical_unit_reset, kLuResetTimeout, "target_warm_reset"},
    {Rung::target_warm_reset, "target_warm_reset", Function::target_warm_reset, kTargetResetTimeout, "session_reset"},
};

/// Commands of two LUNs; the first is overdue, and the ladder has climbed for it to this rung.
struct Climbing : LadderPeer {
  explicit Climbing(const RungRow& to) {
    job = &queue(Direction::none, 0);
    itt = take_command(*job);
    advance(kSecond);
    sibling = &queue(Direction::none, 0);
    sibling_itt = take_command(*sibling);
    other = &queue(Direction::none, 0, kLun2);
    other_itt = take_command(*other);
    advance(kCommandTimeout - kSecond);
    request = climb_to(to.rung);
    told();
    began = now;
  }

  Job* job = nullptr;      // overdue
  Job* sibling = nullptr;  // of the same LUN
  Job* other = nullptr;    // of another
  std::uint32_t itt = 0;
  std::uint32_t sibling_itt = 0;
  std::uint32_t other_itt = 0;
  Micros began = 0;
  TaskManagementRequest request;
};

}  // namespace

TEST_CASE("reset: the request, to the byte") {
  for (const RungRow& row : kRungs) {
    Climbing peer(row);
    CHECK(peer.request.function == row.function);
    CHECK(peer.request.lun == (row.rung == Rung::lu_reset ? kLun1 : 0));
    CHECK(peer.request.referenced_task_tag == kReservedTag);
    CHECK(peer.request.ref_cmd_sn == 0);
    CHECK(peer.request.cmd_sn == 4);
    CHECK(peer.session.next_deadline() == std::min(peer.began + row.timeout, peer.began + kSecond));
    CHECK(peer.silent());
  }
}

TEST_CASE("reset: success ends the tasks that it is about, and the unit attentions to come are told of") {
  for (const RungRow& row : kRungs) {
    Climbing peer(row);
    const bool lu = row.rung == Rung::lu_reset;
    peer.now += 4321;
    peer.answer(peer.request, Result::complete);
    CHECK(peer.job->outcome == Outcome::aborted);
    CHECK(peer.job->overdue);
    CHECK(peer.sibling->outcome == Outcome::aborted);
    CHECK_FALSE(peer.sibling->overdue);
    CHECK(peer.other->outcome == (lu ? Outcome::pending : Outcome::aborted));
    CHECK(peer.told() == Told{std::string(row.name) + " success " + (lu ? "2" : "3")});
    const RecoveryEvent& event = peer.last_told();
    CHECK(event.scope == (lu ? RungScope::lun : RungScope::target));
    CHECK(event.lun == (lu ? kLun1 : RecoveryEvent::kNoLun));
    CHECK(event.duration == 4321);
    CHECK(event.cause == std::string(lu ? "abort_task" : "lu_reset") + " was refused");
    CHECK(peer.count(Kind::unit_reset) == 1);
    for (const SessionEvent& told : peer.events) {
      if (told.kind == Kind::unit_reset) CHECK(told.lun == event.lun);
    }
    if (lu) peer.respond(0, peer.other_itt);
    CHECK(peer.silent());
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("reset: every refusal climbs one rung") {
  for (const RungRow& row : kRungs) {
    for (int response = 1; response <= 256; ++response) {
      const std::string name = row.name;
      CAPTURE(name);
      CAPTURE(response);
      Climbing peer(row);
      if (response < 256) {
        peer.answer(peer.request, static_cast<Result>(response));
      } else {
        peer.reject(make_pdu(peer.request), RejectReason::protocol_error);
      }
      const std::string outcome = response == 1 ? " not_found 0" : " refused 0";
      CHECK_FALSE(peer.saw(Kind::unit_reset));
      if (row.rung == Rung::lu_reset) {
        CHECK(peer.told() == Told{name + outcome});
        for (const Job* job : {peer.job, peer.sibling, peer.other}) CHECK(job->outcome == Outcome::pending);
        peer.answer(peer.tmf(Function::target_warm_reset), Result::complete);
        for (const Job* job : {peer.job, peer.sibling, peer.other}) CHECK(job->outcome == Outcome::aborted);
      } else {
        CHECK(peer.told() == Told{name + outcome, "session_reset success 3"});
        for (const Job* job : {peer.job, peer.sibling, peer.other}) {
          CHECK(job->outcome == Outcome::transport_disrupted);
        }
        CHECK(peer.saw(Kind::lost, name + (response == 1 ? " was answered" : " was refused")));
        peer.relogin();
      }
      check_works(peer);
      peer.check_nothing_leaked();
    }
  }
}

TEST_CASE("reset: no answer in time drops the session, whatever rungs are left") {
  for (const RungRow& row : kRungs) {
    const std::string name = row.name;
    CAPTURE(name);
    Climbing peer(row);
    peer.respond(0, peer.sibling_itt);  // else they would be overdue meanwhile
    peer.respond(0, peer.other_itt);
    CHECK(peer.session.next_deadline() == peer.began + row.timeout);
    peer.advance(row.timeout - 1);
    CHECK(peer.session.state() == SessionState::logged_in);
    peer.advance(1);
    CHECK(peer.told() == Told{name + " timed_out 0", "session_reset success 1"});
    CHECK(peer.last_told().cause == name + " was not answered in time");
    CHECK(peer.job->outcome == Outcome::transport_disrupted);
    CHECK(peer.job->overdue);
    CHECK_FALSE(peer.saw(Kind::unit_reset));
    peer.relogin();
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("reset: what it was climbed for ends meanwhile, and nothing climbs further") {
  for (const RungRow& row : kRungs) {
    for (const auto result : {Result::complete, Result::task_does_not_exist, Result::rejected}) {
      const std::string name = row.name;
      CAPTURE(name);
      Climbing peer(row);
      peer.respond(0, peer.itt);
      CHECK(peer.job->outcome == Outcome::completed);
      peer.answer(peer.request, result);
      const std::string outcome = result == Result::complete
                                      ? (row.rung == Rung::lu_reset ? " success 1" : " success 2")
                                  : result == Result::rejected ? " refused 0"
                                                               : " not_found 0";
      CHECK(peer.told() == Told{name + outcome});
      CHECK(peer.sibling->outcome == (result == Result::complete ? Outcome::aborted : Outcome::pending));
      CHECK(peer.silent());
      CHECK(peer.session.counters().losses == 0);
    }
  }
}

TEST_CASE("reset: others that became overdue meanwhile are climbed for from the bottom, if it did not end them") {
  for (const auto result : {Result::complete, Result::rejected}) {
    Climbing peer(kRungs[0]);
    peer.advance(kSecond);
    CHECK(peer.told() == Told{"timeout success 2"});
    CHECK(peer.silent());
    peer.answer(peer.request, result);
    if (result == Result::complete) {
      CHECK(peer.sibling->outcome == Outcome::aborted);
      CHECK(peer.sibling->overdue);
      CHECK(peer.tmf(Function::abort_task).referenced_task_tag == peer.other_itt);
    } else {
      peer.answer(peer.tmf(Function::target_warm_reset), Result::complete);
      for (const Job* job : {peer.job, peer.sibling, peer.other}) CHECK(job->outcome == Outcome::aborted);
      CHECK(peer.silent());
    }
  }
}

TEST_CASE("reset: the session is lost meanwhile") {
  for (const RungRow& row : kRungs) {
    Climbing peer(row);
    peer.disconnect(0);
    CHECK(peer.told() == Told{std::string(row.name) + " failed 0"});
    for (const Job* job : {peer.job, peer.sibling, peer.other}) CHECK(job->outcome == Outcome::transport_disrupted);
    CHECK(peer.job->overdue);
    CHECK_FALSE(peer.sibling->overdue);
    peer.relogin();
    CHECK(peer.told() == Told{"relogin success 3"});
    CHECK(peer.silent());
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("session reset: the last rung, the way back, and what is told of it") {
  Climbing peer(kRungs[1]);
  peer.auto_connect = false;
  const Micros at = peer.now;
  peer.answer(peer.request, Result::not_supported);
  CHECK(peer.told() == Told{"target_warm_reset refused 0", "session_reset success 3"});
  CHECK(peer.last_told().scope == RungScope::session);
  CHECK(peer.last_told().lun == RecoveryEvent::kNoLun);
  CHECK(peer.last_told().cause == "target_warm_reset was refused");
  CHECK(peer.session.counters().losses == 1);
  CHECK(peer.session.state() == SessionState::logging_in);  // at once
  peer.now += 3 * kSecond;
  peer.connect(0);
  peer.relogin();
  CHECK(peer.told() == Told{"relogin success 3"});
  CHECK(peer.last_told().duration == 3 * kSecond);
  CHECK(peer.last_told().ended_at == at + 3 * kSecond);
  CHECK(peer.last_told().cause.find("target_warm_reset was refused") != std::string::npos);
  check_works(peer);
}

TEST_CASE("session reset: failed logins in between, and one relogin is told of") {
  Climbing peer(kRungs[1]);
  peer.auto_connect = false;
  peer.advance(kTargetResetTimeout);
  peer.told();
  for (int i = 0; i < 3; ++i) {
    peer.advance(10 * kSecond);
    peer.connection(0).on_disconnected("refused", peer.now);
    peer.pump();
  }
  CHECK(peer.told().empty());
  peer.auto_connect = true;
  peer.advance(6 * kSecond);
  if (!peer.wire(0).open) peer.connect(0);
  peer.relogin();
  CHECK(peer.told().size() == 1);
  CHECK(peer.last_told().duration >= 36 * kSecond);
  check_works(peer);
}

TEST_CASE("ladder: all of it takes no longer than the timeouts of its rungs") {
  LadderPeer peer;
  Job& job = peer.hang();
  const Micros deadline = peer.now + kCommandTimeout;
  peer.advance(kCommandTimeout);
  const auto request = peer.climb_to(Rung::target_warm_reset);  // refusals cost nothing here
  CHECK(request.function == Function::target_warm_reset);
  CHECK(peer.now == deadline);
  peer.advance(kTargetResetTimeout);
  CHECK(job.outcome == Outcome::transport_disrupted);
  CHECK(peer.session.state() == SessionState::logging_in);
}

// What iscsi_queuecommand answers in each state; here a command is taken always, waits inside, and comes back.
TEST_CASE("queuecommand: held while its LUN is reset, and sent after it; of other LUNs sent at once") {
  for (const RungRow& row : kRungs) {
    for (const auto result : {Result::complete, Result::rejected}) {
      Climbing peer(row);
      Job& held = peer.queue(Direction::none, 0);
      Job& free = peer.queue(Direction::none, 0, kLun2);
      Job& behind = peer.queue(Direction::none, 0);
      peer.pump();
      const std::size_t sent = peer.wire(0).inbox.size();
      CHECK(sent == (row.rung == Rung::lu_reset ? 1 : 0));
      if (sent == 1) peer.take_command(free);
      for (const Job* job : {&held, &free, &behind}) CHECK(job->outcome == Outcome::pending);
      peer.answer(peer.request, result);
      if (result == Result::complete) {
        peer.take_command(held);
        if (sent == 0) peer.take_command(free);
        peer.take_command(behind);
        CHECK(peer.silent());
      } else if (row.rung == Rung::lu_reset) {
        peer.tmf(Function::target_warm_reset);
        CHECK(peer.silent());
        for (const Job* job : {&held, &free, &behind}) CHECK(job->outcome == Outcome::pending);
      } else {
        // Handed back with the rest: somebody has to look at the LUN before it is sent.
        for (const Job* job : {&held, &free, &behind}) CHECK(job->outcome == Outcome::transport_disrupted);
      }
    }
  }
}

TEST_CASE("queuecommand: an abort holds no command up") {
  LadderPeer peer;
  peer.hang();
  peer.overdue();
  const auto request = peer.tmf(Function::abort_task);
  Job& same = peer.queue(Direction::none, 0);
  peer.serve(same);
  CHECK(same.outcome == Outcome::completed);
  peer.answer(request, Result::complete);
  peer.check_nothing_leaked();
}

TEST_CASE("queuecommand: in every state of the session") {
  LadderPeer peer(2);
  peer.auto_connect = false;
  peer.auto_close = false;
  const auto held = [&] {
    Job& job = peer.queue(Direction::none, 0);
    peer.pump();
    CHECK(job.outcome == Outcome::pending);
    return &job;
  };
  peer.disconnect(1);
  REQUIRE(peer.session.state() == SessionState::failed);  // a socket closes still
  Job& unaware = peer.queue(Direction::none, 0);          // by somebody who has not been told of the loss
  peer.pump();
  CHECK(unaware.outcome == Outcome::transport_disrupted);
  Job* first = held();
  peer.disconnect(0);
  REQUIRE(peer.session.state() == SessionState::logging_in);
  Job* second = held();
  peer.auto_close = true;
  peer.connect(0);
  Job* third = held();
  peer.login(0);
  REQUIRE(peer.session.state() == SessionState::logged_in);
  for (Job* job : {first, second, third}) peer.serve(*job);
  for (const Job* job : {first, second, third}) CHECK(job->outcome == Outcome::completed);
  peer.deliver(0, peer.async_message(0, AsyncEvent::logout_request));
  REQUIRE(peer.session.state() == SessionState::logging_out);
  Job* fourth = held();
  peer.session.teardown(peer.now);
  Job& fifth = peer.queue(Direction::none, 0);
  peer.pump();
  CHECK(fifth.outcome == Outcome::path_lost);
  peer.answer_logout();
  CHECK(fourth->outcome == Outcome::path_lost);
  if (peer.connection(1).state() != ConnectionState::free) peer.disconnect(1);
  REQUIRE(peer.session.state() == SessionState::terminated);
  Job& sixth = peer.queue(Direction::none, 0);
  peer.pump();
  CHECK(sixth.outcome == Outcome::path_lost);
  peer.check_nothing_leaked();
}

TEST_CASE("queuecommand: given back when a login fails") {
  LadderPeer peer;
  peer.auto_connect = false;
  peer.disconnect(0);
  peer.pump();
  Job& job = peer.queue(Direction::none, 0);
  peer.pump();
  CHECK(job.outcome == Outcome::pending);
  peer.connection(0).on_disconnected("refused", peer.now);
  peer.pump();
  CHECK(job.outcome == Outcome::transport_disrupted);
}
