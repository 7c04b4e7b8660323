// ABORT TASK: every row of the tables of iscsi_eh_abort and of iscsi_exec_task_mgmt_fn.
#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <utility>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

TEST_CASE("abort: a Reject that calls a task of management a command costs the connection, and no more") {
  LadderPeer peer;
  Job& job = peer.hang();
  Pdu lie = make_pdu(ScsiCommandPdu{});
  SUBCASE("the function") {
    peer.overdue();
    lie = make_pdu(ScsiCommandPdu{.itt = peer.tmf(Function::abort_task).itt});
  }
  SUBCASE("the logout") {
    peer.session.teardown(peer.now);
    lie = make_pdu(ScsiCommandPdu{.itt = peer.take(0, Opcode::logout_request).as<LogoutRequest>().itt});
  }
  const bool ends = peer.session.state() == SessionState::logging_out;
  peer.reject(lie, RejectReason::protocol_error);
  CHECK((job.outcome == (ends ? Outcome::path_lost : Outcome::transport_disrupted)));
  if (ends) {
    CHECK(peer.session.state() == SessionState::terminated);
  } else {
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::rejected)));
    peer.relogin();
    check_works(peer);
  }
  peer.check_nothing_leaked();
}

namespace {

/// A command that is overdue, its abort under way.
struct Aborting : LadderPeer {
  explicit Aborting(std::uint16_t connections = 1) : LadderPeer(connections) {
    queue(Direction::none, 0, kLun2);  // CmdSN 1, on connection 0; answered before it can be overdue
    const std::uint32_t first = take(0, Opcode::scsi_command).as<ScsiCommandPdu>().itt;
    job = &queue(Direction::none, 0);
    cid = busy();
    itt = take_command(*job, cid);
    respond(0, first);
    began = now;
    overdue();
    request = tmf(Function::abort_task, cid);
    CHECK(told() == Told{"timeout success 1"});
  }
  void answer_abort(Result result) { answer(request, result, cid); }

  Job* job = nullptr;
  std::uint16_t cid = 0;
  std::uint32_t itt = 0;
  nbdgw::proto::Micros began = 0;
  TaskManagementRequest request;
};

}  // namespace

TEST_CASE("abort: the request, to the byte") {
  Aborting peer(2);
  CHECK(peer.cid == 1);
  CHECK(peer.request.lun == kLun1);
  CHECK(peer.request.referenced_task_tag == peer.itt);
  CHECK(peer.request.ref_cmd_sn == 2);
  CHECK(peer.request.cmd_sn == 3);
  CHECK(peer.session.next_deadline() == peer.now + kAbortTimeout);
  peer.answer_abort(Result::complete);
  // It has used up no CmdSN; only the question has, whether the LUN answers again.
  CHECK(peer.questions == 1);
  peer.queue(Direction::none, 0);
  CHECK(peer.take(peer.busy(), Opcode::scsi_command).as<ScsiCommandPdu>().cmd_sn == 4);
}

TEST_CASE("abort: success") {
  Aborting peer;
  peer.now += 1234;
  peer.answer_abort(Result::complete);
  CHECK(peer.job->outcome == Outcome::aborted);
  CHECK(peer.job->overdue);
  CHECK(peer.told() == Told{"abort_task success 1"});
  CHECK(peer.last_told().scope == RungScope::task);
  CHECK(peer.last_told().lun == kLun1);
  CHECK(peer.last_told().cause == "a command is overdue");
  CHECK(peer.last_told().duration == 1234);
  CHECK(peer.last_told().request_id == 0);
  CHECK_FALSE(peer.saw(Kind::unit_reset));
  CHECK(peer.silent());
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("abort: every refusal climbs one rung") {
  for (int response = 1; response <= 256; ++response) {
    CAPTURE(response);
    Aborting peer;
    if (response < 256) {
      peer.answer_abort(static_cast<Result>(response));
    } else {
      peer.reject(make_pdu(peer.request), RejectReason::command_not_supported);
    }
    CHECK(peer.job->outcome == Outcome::pending);
    CHECK(peer.told() == Told{response == 1 ? "abort_task not_found 0" : "abort_task refused 0"});
    const auto reset = peer.tmf(Function::logical_unit_reset);
    CHECK(reset.lun == kLun1);
    CHECK(peer.silent());
    peer.answer(reset, Result::complete);
    CHECK(peer.job->outcome == Outcome::aborted);
    CHECK(peer.last_told().cause == (response == 1
                                         ? "abort_task was answered \"task does not exist\", which proves nothing"
                                         : "abort_task was refused"));
    peer.check_nothing_leaked();
  }
}

TEST_CASE("abort: every reason of a Reject climbs one rung") {
  for (int reason = 2; reason <= 12; ++reason) {
    Aborting peer;
    peer.reject(make_pdu(peer.request), static_cast<RejectReason>(reason));
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    CHECK(peer.job->outcome == Outcome::aborted);
    CHECK(peer.session.counters().rejects == 1);
  }
}

TEST_CASE("abort: no answer in time drops the session, and is no matter for a LUN reset") {
  Aborting peer(2);
  peer.advance(kAbortTimeout - 1);
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.advance(1);
  CHECK(peer.told() == Told{"abort_task timed_out 0", "session_reset success 1"});
  CHECK(peer.saw(Kind::lost, describe(ConnectionError::session_reset)));
  CHECK(peer.saw(Kind::lost, "abort_task was not answered in time"));
  CHECK(peer.job->outcome == Outcome::transport_disrupted);
  CHECK(peer.job->overdue);
  for (const std::uint16_t cid : kBothConnections) CHECK(peer.wire(cid).closes == 1);
  peer.relogin();
  CHECK(peer.told() == Told{"relogin success 1"});
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("abort: the command ends while the abort is under way, and nothing climbs") {
  for (const auto result : {Result::complete, Result::task_does_not_exist, Result::not_supported, Result::rejected}) {
    for (const std::uint8_t status : {std::uint8_t{0}, std::uint8_t{0x40}}) {  // GOOD; TASK ABORTED
      for (const bool together : {false, true}) {
        CAPTURE(together);
        Aborting peer;
        peer.send(0, peer.response(0, peer.itt, status));
        if (!together) {
          peer.pump();
          CHECK(peer.job->outcome == Outcome::completed);
          CHECK(peer.told().empty());
        }
        peer.answer_abort(result);
        CHECK(peer.job->outcome == Outcome::completed);
        CHECK(peer.job->status == status);
        CHECK(peer.told() == Told{"abort_task success 0"});
        CHECK(peer.silent());
        CHECK(peer.session.counters().late_answers == 0);
        check_works(peer);
        peer.check_nothing_leaked();
      }
    }
  }
}

TEST_CASE("abort: the command's answer comes behind the abort's") {
  for (const auto result : {Result::complete, Result::task_does_not_exist}) {
    for (const bool together : {false, true}) {
      CAPTURE(together);
      Aborting peer;
      const bool aborted = result == Result::complete && !together;
      peer.send(0, make_pdu(TaskManagementResponse{
                       .response = result, .itt = peer.request.itt, .sequence = peer.status_sequence(0)}));
      TaskManagementRequest reset;
      const bool climbs = result == Result::task_does_not_exist && !together;
      if (!together) peer.pump();
      if (climbs) reset = peer.tmf(Function::logical_unit_reset);
      peer.respond(0, peer.itt);
      // Handed back once, as what came first to us; in one turn the answer to the command itself counts.
      CHECK(peer.job->finished == 1);
      CHECK((peer.job->outcome == (aborted ? Outcome::aborted : Outcome::completed)));
      CHECK(peer.session.counters().late_answers == (aborted ? 1 : 0));
      if (climbs) peer.answer(reset, Result::rejected);  // and that is the end of it
      CHECK(peer.silent());
      check_works(peer);
      peer.check_nothing_leaked();
    }
  }
}

TEST_CASE("abort: the command ends, but the abort is never answered: the session is dropped all the same") {
  Aborting peer;
  peer.respond(0, peer.itt);
  CHECK(peer.job->outcome == Outcome::completed);
  peer.advance(kAbortTimeout);
  CHECK(peer.told() == Told{"abort_task timed_out 0", "session_reset success 0"});
  peer.relogin();
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("abort: an answer in the turn in which its time is up comes too late") {
  Aborting peer;
  peer.send(0, make_pdu(TaskManagementResponse{.itt = peer.request.itt, .sequence = peer.status_sequence(0)}));
  peer.now += kAbortTimeout;
  std::array<iovec, 4> pieces;
  REQUIRE(peer.connection(0).rx_buffers(pieces) > 0);
  Bytes& out = peer.wire(0).out;
  REQUIRE(pieces[0].iov_len >= out.size());
  std::copy(out.begin(), out.end(), static_cast<std::uint8_t*>(pieces[0].iov_base));
  peer.session.on_deadline(peer.now);
  peer.connection(0).on_received(std::exchange(out, {}).size(), peer.now);
  CHECK(peer.told() == Told{"abort_task timed_out 0", "session_reset success 1"});
  CHECK(peer.session.counters().late_answers == 1);
  CHECK(peer.job->outcome == Outcome::transport_disrupted);
  peer.relogin();
  peer.check_nothing_leaked();
}

TEST_CASE("abort: answers that break the protocol cost the session its connections") {
  struct Breach {
    ConnectionError error;
    std::function<void(Aborting&)> commit;
  };
  const auto response = [](Aborting& peer, std::uint32_t itt) {
    return make_pdu(TaskManagementResponse{.itt = itt, .sequence = peer.status_sequence(0)});
  };
  const Breach breaches[] = {
      {ConnectionError::bad_itt, [&](Aborting& s) { s.deliver(0, response(s, s.itt)); }},
      {ConnectionError::bad_itt, [&](Aborting& s) { s.deliver(0, response(s, kReservedTag)); }},
      {ConnectionError::bad_itt, [&](Aborting& s) { s.deliver(0, response(s, s.request.itt + (1U << 13))); }},
      {ConnectionError::bad_itt, [&](Aborting& s) { s.deliver(0, response(s, s.request.itt ^ (1U << 28))); }},
      {ConnectionError::bad_itt, [](Aborting& s) { s.respond(0, s.request.itt); }},
      {ConnectionError::bad_itt, [](Aborting& s) { s.deliver(0, s.r2t(0, s.request.itt, 0, 0, 10, 1)); }},
      {ConnectionError::bad_itt,
       [](Aborting& s) { s.deliver(0, s.data_in(0, s.request.itt, 0, 0, Bytes(10), true)); }},
      {ConnectionError::bad_itt, [](Aborting& s) { s.deliver(0, s.pong(0, s.request.itt)); }},
      {ConnectionError::bad_itt,
       [](Aborting& s) {
         s.deliver(0, make_pdu(LogoutResponse{.itt = s.request.itt, .sequence = s.status_sequence(0)}));
       }},
      {ConnectionError::bad_itt,
       [&](Aborting& s) {  // twice
         s.send(0, response(s, s.request.itt));
         s.deliver(0, response(s, s.request.itt));
       }},
      {ConnectionError::stat_sn,
       [&](Aborting& s) {
         s.status_sequence(0);
         s.deliver(0, response(s, s.request.itt));
       }},
      {ConnectionError::rejected,
       [](Aborting& s) { s.reject(make_pdu(DataOut{.itt = s.request.itt}), RejectReason::protocol_error); }},
  };
  int number = 0;
  for (const Breach& breach : breaches) {
    CAPTURE(number++);
    Aborting peer;
    breach.commit(peer);
    CHECK(peer.saw(Kind::lost, describe(breach.error)));
    CHECK(peer.job->outcome == Outcome::transport_disrupted);
    CHECK(peer.told() == Told{"abort_task failed 0"});
    peer.advance(kSecond);
    peer.relogin();
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("abort: an answer with data costs the session its connections") {
  Aborting peer;
  Pdu pdu = make_pdu(TaskManagementResponse{.itt = peer.request.itt, .sequence = peer.status_sequence(0)});
  pdu.data = Bytes(4);
  pdu.bhs[7] = 4;
  peer.deliver(0, pdu);
  CHECK(peer.saw(Kind::lost, "an answer to a task management function with data"));
  CHECK(peer.job->outcome == Outcome::transport_disrupted);
}

TEST_CASE("abort: the session is lost while it is under way") {
  for (const bool answered : {false, true}) {
    for (const std::uint16_t cid : kBothConnections) {
      CAPTURE(answered);
      CAPTURE(cid);
      Aborting peer(2);
      if (answered) {  // but nobody has looked at the answer yet
        const Bytes bytes =
            to_bytes(make_pdu(TaskManagementResponse{.itt = peer.request.itt, .sequence = peer.status_sequence(1)}),
                     false, false);
        std::array<iovec, 4> pieces;
        REQUIRE(peer.connection(1).rx_buffers(pieces) > 0);
        std::copy(bytes.begin(), bytes.end(), static_cast<std::uint8_t*>(pieces[0].iov_base));
        peer.connection(1).on_received(bytes.size(), peer.now);
      }
      peer.disconnect(cid);
      CHECK(peer.told() == Told{"abort_task failed 0"});
      CHECK(peer.last_told().cid == 1);
      CHECK(peer.job->outcome == Outcome::transport_disrupted);
      CHECK(peer.job->overdue);
      peer.relogin();
      CHECK(peer.told() == Told{"relogin success 1"});
      CHECK(peer.silent());  // the climb is over
      check_works(peer);
      peer.check_nothing_leaked();
    }
  }
}

TEST_CASE("abort: one function at a time, the next command's behind it") {
  LadderPeer peer(2);
  Job& first = peer.queue(Direction::none, 0, kLun1);
  const std::uint32_t first_itt = peer.take_command(first, 0);
  Job& second = peer.queue(Direction::none, 0, kLun2);
  const std::uint32_t second_itt = peer.take_command(second, 1);
  peer.overdue();
  const auto one = peer.tmf(Function::abort_task, 0);
  CHECK(one.referenced_task_tag == first_itt);
  CHECK(peer.silent());
  peer.answer(one, Result::complete, 0);
  const auto two = peer.tmf(Function::abort_task, 1);
  CHECK(two.referenced_task_tag == second_itt);
  peer.answer(two, Result::complete, 1);
  CHECK(peer.told() == Told{"timeout success 2", "abort_task success 1", "abort_task success 1"});
  peer.check_nothing_leaked();
}

TEST_CASE("abort: a command that ends before its turn needs none") {
  LadderPeer peer;
  peer.hang();
  Job& second = peer.queue(Direction::none, 0, kLun2);
  const std::uint32_t itt = peer.take_command(second);
  peer.overdue();
  const auto request = peer.tmf(Function::abort_task);
  peer.respond(0, itt);
  CHECK(second.outcome == Outcome::completed);
  CHECK(second.overdue);
  peer.answer(request, Result::complete);
  CHECK(peer.silent());
  peer.check_nothing_leaked();
}
