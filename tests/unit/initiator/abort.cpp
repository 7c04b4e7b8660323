// ABORT TASK: every row of the tables of iscsi_eh_abort and of iscsi_exec_task_mgmt_fn (reference 1.3).
#include <doctest/doctest.h>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
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
