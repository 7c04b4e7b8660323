#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;
using Function = iscsi::TaskManagementFunction;
using Result = iscsi::TaskManagementResult;

TEST_CASE("portals: the same initiator port is another nexus at another portal group") {
  Faulty faulty;
  Peer first(faulty.world);
  Peer second(faulty.world, 1);
  first.log_in();
  CHECK(first.data_text("TargetPortalGroupTag") == "1");
  second.log_in();
  CHECK(second.data_text("TargetPortalGroupTag") == "2");
  CHECK(faulty.world.server->sessions().size() == 2);
  CHECK(faulty.world.server->counters().sessions_reinstated == 0);
  // A session does not reach over two of them.
  Peer joining(faulty.world, 1);
  joining.tsih = first.tsih;
  joining.cid = 1;
  joining.send(joining.login_request(iscsi::LoginStage::operational, iscsi::LoginStage::full_feature), Peer::names());
  CHECK(joining.receive_as<iscsi::LoginResponse>(Opcode::login_response).status ==
        iscsi::LoginStatus::session_does_not_exist);
}

TEST_CASE("portals: a reset reaches the commands of all portal groups, but not what has not come in") {
  Faulty faulty;
  Peer first(faulty.world);
  Peer second(faulty.world, 1);
  first.log_in();
  first.clear_attentions();
  second.log_in();
  second.clear_attentions();
  const auto hung = faulty.post(FaultKind::hang_task, [](Fault& f) { f.count = 1; });
  write_block(first, 0, 1);
  const auto frozen = faulty.post(FaultKind::freeze_portal, [](Fault& f) { f.portal = 1; });
  CHECK(first.engine().is_frozen());
  CHECK_FALSE(first.engine().wants_to_read());
  CHECK(first.engine().next_deadline() == nbdgw::proto::kNever);
  CHECK(manage(second, Function::logical_unit_reset, kLun1).response == Result::complete);
  CHECK(test_unit(second).sense == 0x062903);
  faulty.remove(hung);
  faulty.remove(frozen);
  CHECK_FALSE(first.engine().is_frozen());
  CHECK(stored(faulty, 0) == 0);
  CHECK(test_unit(first).sense == 0x062903);
  write_block(first, 0, 2);
  CHECK(end_of_next(first).status == 0);
  CHECK(stored(faulty, 0) == 2);
}

TEST_CASE("portals: one that is frozen sends nothing until it is thawed") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  faulty.post(FaultKind::delay, [](Fault& f) { f.delay_ms = 20; });
  const auto tag = write_block(peer, 0, 1);
  const auto frozen = faulty.post(FaultKind::freeze_portal, [](Fault& f) { f.portal = 1; });
  faulty.pass_time(20 * nbdgw::proto::kMillisecond);
  CHECK(peer.empty());
  faulty.remove(frozen);
  CHECK(end_of_next(peer).itt == tag);
}
