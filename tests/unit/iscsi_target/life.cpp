#include "tests/unit/iscsi_target/peer.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;
using nbdgw::proto::kSecond;

namespace {

void log_in_for_discovery(Peer& peer, const std::string& keys = {}) {
  peer.send(peer.login_request(iscsi::LoginStage::operational, iscsi::LoginStage::full_feature),
            pairs({std::string("InitiatorName=") + kInitiator, "SessionType=Discovery"}) + keys);
  REQUIRE(peer.receive_as<iscsi::LoginResponse>(Opcode::login_response).status == iscsi::LoginStatus::success);
}

std::string send_targets(Peer& peer, const std::string& which) {
  peer.send(iscsi::TextRequest{.itt = 3, .cmd_sn = peer.cmd_sn++}, pairs({"SendTargets=" + which}));
  const auto response = peer.receive_as<iscsi::TextResponse>(Opcode::text_response);
  CHECK(response.final);
  CHECK(response.ttt == iscsi::kReservedTag);
  return std::string(peer.data.begin(), peer.data.end());
}

iscsi::LogoutResult log_out(Peer& peer, iscsi::LogoutReason reason, std::uint16_t cid = 0) {
  peer.send(iscsi::LogoutRequest{.reason = reason, .itt = 90, .cid = cid, .cmd_sn = peer.cmd_sn});
  const auto response = peer.receive_as<iscsi::LogoutResponse>(Opcode::logout_response);
  CHECK(response.itt == 90);
  return response.response;
}

}  // namespace

TEST_CASE("discovery: SendTargets") {
  World world([](nbdgw::iscsi_target::ServerOptions& options) {
    options.targets.push_back(options.targets[0]);
    options.targets[1].name = "iqn.2026-11.io.nbdgw:second";
  });
  const std::string one = pairs({std::string("TargetName=") + kTarget, "TargetAddress=192.0.2.1:3260,1"});
  const std::string two = pairs({"TargetName=iqn.2026-11.io.nbdgw:second", "TargetAddress=192.0.2.1:3260,1"});
  Peer peer(world);
  log_in_for_discovery(peer);
  CHECK(send_targets(peer, "All") == one + two);
  CHECK(send_targets(peer, "iqn.2026-11.io.nbdgw:second") == two);
  CHECK(send_targets(peer, "iqn.2026-11.io.nbdgw:none") == "");
  CHECK(send_targets(peer, "") == pairs({"SendTargets=Reject"}));

  Peer normal(world);
  normal.isid[5] = 2;
  normal.log_in();
  CHECK(send_targets(normal, "") == one);
  CHECK(send_targets(normal, kTarget) == one);
  CHECK(send_targets(normal, "All") == pairs({"SendTargets=Reject"}));

  peer.command(scsi::test_unit_ready(), {});
  CHECK_FALSE(peer.is_open());
  CHECK(peer.reason().find("discovery session") != std::string::npos);
}

TEST_CASE("discovery: a question and an answer over several PDUs") {
  World world([](nbdgw::iscsi_target::ServerOptions& options) {
    for (int i = 0; i < 40; ++i) {
      options.targets.push_back(options.targets[0]);
      options.targets.back().name += std::to_string(i);
    }
  });
  Peer peer(world);
  log_in_for_discovery(peer, pairs({"MaxRecvDataSegmentLength=512"}));
  const std::string question = pairs({"SendTargets=All"});
  peer.send(iscsi::TextRequest{.final = false, .continues = true, .itt = 3, .cmd_sn = peer.cmd_sn++},
            question.substr(0, 5));
  auto response = peer.receive_as<iscsi::TextResponse>(Opcode::text_response);
  CHECK_FALSE(response.final);
  CHECK(response.ttt != iscsi::kReservedTag);
  CHECK(peer.data.empty());
  peer.send(iscsi::TextRequest{.itt = 3, .ttt = response.ttt, .cmd_sn = peer.cmd_sn++}, question.substr(5));
  std::string answer;
  for (;;) {
    response = peer.receive_as<iscsi::TextResponse>(Opcode::text_response);
    answer.append(peer.data.begin(), peer.data.end());
    CHECK(peer.data.size() <= 512);
    CHECK(response.final == !response.continues);
    if (response.final) break;
    peer.send(iscsi::TextRequest{.itt = 3, .ttt = response.ttt, .cmd_sn = peer.cmd_sn++});
  }
  CHECK(iscsi::TextReader::validate(answer) == iscsi::TextError::none);
  CHECK(answer.find(std::string(kTarget) + "39") != std::string::npos);
  CHECK(response.ttt == iscsi::kReservedTag);

  peer.send(iscsi::TextRequest{.itt = 3, .ttt = 12345, .cmd_sn = peer.cmd_sn++}, question);
  CHECK(peer.receive().opcode() == Opcode::reject);
  CHECK_FALSE(peer.is_open());
}

TEST_CASE("text: in a normal session") {
  World world;
  Peer peer(world);
  peer.log_in();
  peer.send(iscsi::TextRequest{.itt = 3, .cmd_sn = peer.cmd_sn++},
            pairs({"MaxRecvDataSegmentLength=1024", "MaxConnections=2", "X-a=b"}));
  peer.receive_as<iscsi::TextResponse>(Opcode::text_response);
  CHECK(std::string(peer.data.begin(), peer.data.end()) == pairs({"MaxConnections=Reject", "X-a=NotUnderstood"}));
  CHECK(peer.engine().parameters().peer_max_recv_data_segment_length == 1024);
  peer.send(iscsi::TextRequest{.itt = 3, .cmd_sn = peer.cmd_sn++}, std::string("no equals"));
  CHECK(peer.receive().opcode() == Opcode::reject);
  CHECK_FALSE(peer.is_open());
}

TEST_CASE("logout: session, connection, another connection, and what cannot be") {
  World world;
  Peer one(world);
  one.log_in(pairs({"MaxConnections=4"}));
  one.clear_attentions();
  Peer two(world), three(world);
  two.cid = 1;
  three.cid = 2;
  two.tsih = three.tsih = one.tsih;
  two.log_in();
  three.log_in();
  auto* session = world.server->find_session(one.tsih);
  CHECK(log_out(one, iscsi::LogoutReason::remove_for_recovery, 1) == iscsi::LogoutResult::recovery_not_supported);
  CHECK(log_out(one, iscsi::LogoutReason::close_connection, 9) == iscsi::LogoutResult::cid_not_found);
  CHECK(two.is_open());
  CHECK(log_out(one, iscsi::LogoutReason::close_connection, 1) == iscsi::LogoutResult::closed);
  CHECK_FALSE(two.is_open());
  CHECK(one.is_open());
  CHECK(log_out(three, iscsi::LogoutReason::close_connection, 2) == iscsi::LogoutResult::closed);
  CHECK_FALSE(three.is_open());
  CHECK(three.reason() == "");
  CHECK(session->connections().size() == 1);

  // A write that waits is ended, a finished read's bytes still leave before the answer.
  one.command(Peer::write_cdb(0, 8), {.write = true, .length = 4096});
  one.receive_as<iscsi::R2t>(Opcode::r2t);
  one.command(Peer::read_cdb(0, 8), {.read = true, .length = 4096});
  std::array<iovec, 16> list;
  CHECK(one.engine().tx_buffers(list) > 0);
  one.send(iscsi::LogoutRequest{.reason = iscsi::LogoutReason::close_session, .itt = 90, .cmd_sn = one.cmd_sn});
  CHECK(one.receive_as<iscsi::DataIn>(Opcode::data_in).has_status);
  CHECK(one.receive_as<iscsi::LogoutResponse>(Opcode::logout_response).response == iscsi::LogoutResult::closed);
  CHECK_FALSE(one.is_open());
  CHECK(world.server->sessions().empty());
  CHECK(world.server->buffers().used() == 0);
}

TEST_CASE("nop: echo with data, and the target's own question") {
  World world([](nbdgw::iscsi_target::ServerOptions& options) {
    options.nop_interval = 5 * kSecond;
    options.nop_timeout = 3 * kSecond;
  });
  Peer peer(world);
  peer.log_in();
  peer.send(iscsi::NopOut{.itt = 8, .cmd_sn = peer.cmd_sn}, Bytes(3000, 9));
  CHECK(peer.receive_as<iscsi::NopIn>(Opcode::nop_in).ttt == iscsi::kReservedTag);
  CHECK(peer.data == Bytes(3000, 9));

  CHECK(peer.engine().next_deadline() == world.now + 5 * kSecond);
  world.now += 5 * kSecond;
  peer.engine().on_deadline(world.now);
  const auto ping = peer.receive_as<iscsi::NopIn>(Opcode::nop_in);
  CHECK(ping.itt == iscsi::kReservedTag);
  CHECK(ping.ttt != iscsi::kReservedTag);
  CHECK(peer.engine().next_deadline() == world.now + 3 * kSecond);
  world.now += kSecond;
  peer.send(iscsi::NopOut{.itt = iscsi::kReservedTag, .ttt = ping.ttt, .cmd_sn = peer.cmd_sn});
  CHECK(peer.empty());
  CHECK(peer.engine().next_deadline() == world.now + 5 * kSecond);

  world.now += 5 * kSecond;
  peer.engine().on_deadline(world.now);
  world.now += 3 * kSecond;
  peer.engine().on_deadline(world.now);
  CHECK_FALSE(peer.is_open());
  CHECK(peer.reason() == "the initiator did not answer a NOP-In");
}

TEST_CASE("rejects: SNACK, and an opcode that is none") {
  World world;
  Peer peer(world);
  peer.log_in();
  const auto snack = peer.bytes_of(iscsi::SnackRequest{.itt = 3});
  peer.feed(snack);
  CHECK(peer.receive_as<iscsi::Reject>(Opcode::reject).reason == iscsi::RejectReason::snack_reject);
  CHECK(std::equal(peer.data.begin(), peer.data.end(), snack.begin()));
  CHECK(peer.is_open());
  iscsi::Bhs odd{};
  odd[0] = 0x1c;
  peer.feed(peer.bytes_of(odd, {}));
  CHECK(peer.receive_as<iscsi::Reject>(Opcode::reject).reason == iscsi::RejectReason::command_not_supported);
  CHECK_FALSE(peer.is_open());
  CHECK(peer.reason().find("opcode 28") != std::string::npos);
}

TEST_CASE("shut down: initiators are told, and closed when they know") {
  World world;
  Peer peer(world);
  peer.log_in();
  Peer half(world);
  world.now += 60 * kSecond;
  world.server->shut_down(world.now);
  CHECK_FALSE(half.is_open());
  CHECK(peer.is_open());
  CHECK(peer.engine().next_deadline() == world.now + 5 * kSecond);
  CHECK(peer.receive_as<iscsi::AsyncMessage>(Opcode::async_message).event == iscsi::AsyncEvent::drop_all_connections);
  CHECK_FALSE(peer.is_open());
  CHECK(world.server->take_ready() != nullptr);
}

TEST_CASE("options: what is wrong with them is said") {
  World world;
  using nbdgw::iscsi_target::ServerOptions;
  const auto complaint = [&](auto change) {
    auto options = World::options(world);
    change(options);
    return nbdgw::iscsi_target::check_options(options);
  };
  CHECK(complaint([](ServerOptions&) {}) == "");
  CHECK(complaint([](ServerOptions& o) { o.targets.clear(); }) != "");
  CHECK(complaint([](ServerOptions& o) { o.targets[0].name = "disk"; }).find("iSCSI name") != std::string::npos);
  CHECK(complaint([](ServerOptions& o) { o.targets[0].luns.clear(); }) != "");
  CHECK(complaint([](ServerOptions& o) { o.targets[0].luns[1].number = 1; }).find("twice") != std::string::npos);
  CHECK(complaint([](ServerOptions& o) { o.targets[0].luns[1].number = 16384; }) != "");
  CHECK(complaint([](ServerOptions& o) { o.targets[0].luns[1].block_size = 1000; }) != "");
  CHECK(complaint([](ServerOptions& o) { o.targets.push_back(o.targets[0]); }).find("same name") !=
        std::string::npos);
  CHECK(complaint([](ServerOptions& o) { o.queue_depth = 0; }) != "");
  CHECK(complaint([](ServerOptions& o) { o.buffer_bytes = 1; }) != "");
  CHECK(complaint([](ServerOptions& o) { o.chap.user = "a"; }) != "");
  CHECK(complaint([](ServerOptions& o) {
          o.chap = {.user = "a", .secret = "s", .mutual_user = "b", .mutual_secret = "s"};
        }) == "mutual CHAP needs two different secrets");
}
