#include "tests/unit/iscsi_target/peer.hpp"

#include "proto/iscsi/chap.hpp"

using namespace nbdgw::test;
using iscsi::LoginStage;
using iscsi::LoginStatus;
using iscsi::Opcode;

namespace {

iscsi::LoginResponse exchange(Peer& peer, iscsi::LoginRequest request, const std::string& text) {
  peer.send(request, text);
  return peer.receive_as<iscsi::LoginResponse>(Opcode::login_response);
}

iscsi::LoginRequest straight(Peer& peer) {
  return peer.login_request(LoginStage::operational, LoginStage::full_feature);
}

std::string value_of(const Bytes& data, const std::string& key) {
  iscsi::TextReader reader(std::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
  iscsi::KeyValue pair;
  while (reader.next(pair))
    if (pair.key == key) return std::string(pair.value);
  return "(none)";
}

}  // namespace

TEST_CASE("login: through security and operational stage, several rounds") {
  World world;
  Peer peer(world);
  auto response = exchange(peer, peer.login_request(LoginStage::security, LoginStage::operational),
                           Peer::names() + pairs({"SessionType=Normal", "AuthMethod=CHAP,None"}));
  CHECK(response.status == LoginStatus::success);
  CHECK(response.transit);
  CHECK(response.next_stage == LoginStage::operational);
  CHECK(response.tsih == 0);
  CHECK(value_of(peer.data, "AuthMethod") == "None");
  CHECK(value_of(peer.data, "TargetPortalGroupTag") == "1");
  const auto first_stat_sn = response.sequence.stat_sn;

  response = exchange(peer, peer.login_request(LoginStage::operational, LoginStage::operational),
                      pairs({"MaxBurstLength=65536", "HeaderDigest=None"}));
  CHECK_FALSE(response.transit);
  CHECK(value_of(peer.data, "MaxBurstLength") == "65536");
  CHECK(value_of(peer.data, "MaxRecvDataSegmentLength") == "262144");
  CHECK(response.sequence.stat_sn == first_stat_sn + 1);

  response = exchange(peer, straight(peer), pairs({"MaxConnections=4", "X-thing=1"}));
  CHECK(response.transit);
  CHECK(response.next_stage == LoginStage::full_feature);
  CHECK(response.tsih != 0);
  CHECK(value_of(peer.data, "MaxConnections") == "4");
  CHECK(value_of(peer.data, "X-thing") == "NotUnderstood");
  CHECK(value_of(peer.data, "MaxRecvDataSegmentLength") == "(none)");
  CHECK(response.sequence.exp_cmd_sn == peer.cmd_sn);
  CHECK(response.sequence.max_cmd_sn == peer.cmd_sn + 7);
  CHECK(peer.engine().state() == nbdgw::iscsi_target::ConnectionState::full_feature);
  CHECK(world.server->counters().logins == 1);
}

TEST_CASE("login: text over several requests (C bit), from security straight to the full feature phase") {
  World world;
  Peer peer(world);
  auto request = peer.login_request(LoginStage::security, LoginStage::security);
  request.continues = true;
  const std::string text = Peer::names() + pairs({"AuthMethod=None"});
  auto response = exchange(peer, request, text.substr(0, 20));
  CHECK(response.status == LoginStatus::success);
  CHECK_FALSE(response.transit);
  CHECK(peer.data.empty());
  response = exchange(peer, peer.login_request(LoginStage::security, LoginStage::full_feature), text.substr(20));
  CHECK(response.transit);
  CHECK(response.next_stage == LoginStage::full_feature);
  CHECK(response.tsih != 0);
}

TEST_CASE("login: refusals, each with its status and a reason") {
  struct Case {
    const char* name;
    LoginStatus status;
    std::string text;
    void (*change)(iscsi::LoginRequest&);
  };
  const auto as_is = [](iscsi::LoginRequest&) {};
  const std::string initiator = std::string("InitiatorName=") + kInitiator;
  const std::vector<Case> cases{
      {"version", LoginStatus::unsupported_version, Peer::names(), [](auto& r) { r.version_min = 1; }},
      {"no initiator", LoginStatus::missing_parameter, pairs({std::string("TargetName=") + kTarget}), as_is},
      {"no target", LoginStatus::missing_parameter, pairs({initiator}), as_is},
      {"unknown target", LoginStatus::not_found, pairs({initiator, "TargetName=iqn.2026-11.io.nbdgw:other"}), as_is},
      {"session type", LoginStatus::session_type_not_supported, Peer::names() + pairs({"SessionType=Odd"}), as_is},
      {"no session", LoginStatus::session_does_not_exist, Peer::names(), [](auto& r) { r.tsih = 99; }},
      {"stage 2", LoginStatus::invalid_during_login, Peer::names(),
       [](auto& r) { r.current_stage = static_cast<LoginStage>(2); }},
      {"stage 3", LoginStatus::invalid_during_login, Peer::names(),
       [](auto& r) { r.current_stage = LoginStage::full_feature; }},
      {"back to security", LoginStatus::invalid_during_login, Peer::names(),
       [](auto& r) { r.next_stage = LoginStage::security; }},
      {"T and C", LoginStatus::invalid_during_login, Peer::names(), [](auto& r) { r.continues = true; }},
      {"absurd value", LoginStatus::initiator_error, Peer::names() + pairs({"MaxBurstLength=1"}), as_is},
      {"malformed text", LoginStatus::initiator_error, Peer::names() + "MaxBurstLength", as_is},
      {"SendTargets", LoginStatus::invalid_during_login, Peer::names() + pairs({"SendTargets=All"}), as_is},
      {"security key", LoginStatus::invalid_during_login, Peer::names() + pairs({"CHAP_A=5"}), as_is},
      {"digest", LoginStatus::initiator_error, Peer::names() + pairs({"DataDigest=MD5"}), as_is},
  };
  for (const Case& each : cases) {
    CAPTURE(each.name);
    World world;
    Peer peer(world);
    auto request = straight(peer);
    each.change(request);
    const auto response = exchange(peer, request, each.text);
    CHECK(response.status == each.status);
    CHECK_FALSE(response.transit);
    CHECK_FALSE(peer.is_open());
    CHECK(peer.reason().starts_with("login refused: "));
    CHECK(peer.reason().size() > 25);
    CHECK(world.server->sessions().empty());
    CHECK(world.server->counters().login_failures == 1);
  }
}

TEST_CASE("login: what must not change, must not") {
  for (int what = 0; what < 4; ++what) {
    World world;
    Peer peer(world);
    exchange(peer, peer.login_request(LoginStage::operational, LoginStage::operational), Peer::names());
    auto request = straight(peer);
    if (what == 0) request.itt = 78;
    if (what == 1) request.cid = 9;
    if (what == 2) request.isid[5] = 9;
    if (what == 3) request.current_stage = LoginStage::security;
    CHECK(exchange(peer, request, "").status == LoginStatus::invalid_during_login);
  }
}

TEST_CASE("login: it comes to an end, in requests and in time") {
  World world;
  Peer peer(world);
  auto status = LoginStatus::success;
  int rounds = 0;
  const auto request = peer.login_request(LoginStage::operational, LoginStage::operational);
  while (status == LoginStatus::success) {
    status = exchange(peer, request, rounds == 0 ? Peer::names() : "").status;
    ++rounds;
  }
  CHECK(rounds == nbdgw::iscsi_target::kMaxLoginRequests + 1);

  Peer slow(world);
  CHECK(slow.engine().next_deadline() == world.now + 15 * nbdgw::proto::kSecond);
  slow.engine().on_deadline(world.now + 1);
  CHECK(slow.is_open());
  slow.engine().on_deadline(slow.engine().next_deadline());
  CHECK_FALSE(slow.is_open());
  CHECK(slow.reason() == "no login within 15 s");
}

TEST_CASE("login: anything but a login request first, or too long a one, costs the connection") {
  World world;
  Peer one(world);
  one.send(iscsi::NopOut{.itt = 1});
  CHECK_FALSE(one.is_open());
  CHECK(one.reason().find("no login request") != std::string::npos);
  Peer two(world);
  two.send(straight(two), std::string(8193, 'x'));
  CHECK_FALSE(two.is_open());
  CHECK(two.reason().find("8192 are allowed") != std::string::npos);
}

TEST_CASE("login: digests are negotiated, used and checked") {
  for (const bool header : {false, true}) {
    for (const bool data : {false, true}) {
      World world;
      Peer peer(world);
      peer.log_in(pairs({std::string("HeaderDigest=") + (header ? "CRC32C,None" : "None"),
                         std::string("DataDigest=") + (data ? "CRC32C" : "None,CRC32C")}));
      peer.header_digest = header;
      peer.data_digest = data;
      peer.send(iscsi::NopOut{.itt = 5, .cmd_sn = peer.cmd_sn}, Bytes{1, 2, 3, 4, 5});
      CHECK(peer.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == 5);
      CHECK(peer.data == Bytes{1, 2, 3, 4, 5});
      peer.clear_attentions();

      Bytes bytes = peer.bytes_of(iscsi::NopOut{.itt = 6, .cmd_sn = peer.cmd_sn}, Bytes(5, 7));
      bytes[header ? 20 : 50] ^= 1;
      peer.feed(bytes);
      if (header) {
        CHECK(peer.reason() == "protocol error: header digest error");
      } else if (data) {
        CHECK(peer.receive_as<iscsi::Reject>(Opcode::reject).reason == iscsi::RejectReason::data_digest_error);
        CHECK(peer.data.size() == 48);
        CHECK_FALSE(peer.is_open());
        CHECK(peer.reason() == "data digest error");
      } else {
        CHECK(peer.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == 6);
      }
    }
  }
}

TEST_CASE("login: a target that insists on digests speaks up, and takes no for an answer badly") {
  const auto insist = [](nbdgw::iscsi_target::ServerOptions& options) { options.wishes.header_digest = "CRC32C"; };
  World world(insist);
  Peer peer(world);
  auto response = exchange(peer, straight(peer), Peer::names());
  CHECK_FALSE(response.transit);
  CHECK(value_of(peer.data, "HeaderDigest") == "CRC32C");
  response = exchange(peer, straight(peer), pairs({"HeaderDigest=CRC32C"}));
  CHECK(response.transit);
  peer.header_digest = true;
  peer.send(iscsi::NopOut{.itt = 5, .cmd_sn = peer.cmd_sn});
  CHECK(peer.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == 5);

  Peer stubborn(world);
  exchange(stubborn, straight(stubborn), Peer::names());
  CHECK(exchange(stubborn, straight(stubborn), pairs({"HeaderDigest=None"})).status == LoginStatus::initiator_error);
}

namespace {

void with_chap(nbdgw::iscsi_target::ServerOptions& options) {
  options.chap.user = "alice";
  options.chap.secret = "secret of alice";
  options.chap.mutual_user = "bob";
  options.chap.mutual_secret = "secret of bob";
}

std::string respond(const std::string& challenge, std::uint8_t id, const std::string& secret,
                    iscsi::ChapAlgorithm algorithm) {
  Bytes bytes(1024);
  const auto length = iscsi::decode_binary(challenge, bytes);
  REQUIRE(length);
  bytes.resize(*length);
  return iscsi::encode_hex(iscsi::chap_response(algorithm, id, secret, bytes)->view());
}

/// Up to the target's challenge; returns the right answer to it.
std::string until_challenge(Peer& peer, const std::string& algorithms, iscsi::ChapAlgorithm expected,
                            const std::string& secret = "secret of alice") {
  auto request = peer.login_request(LoginStage::security, LoginStage::operational);
  auto response = exchange(peer, request, Peer::names() + pairs({"AuthMethod=CHAP,None"}));
  CHECK_FALSE(response.transit);
  CHECK(value_of(peer.data, "AuthMethod") == "CHAP");
  response = exchange(peer, request, pairs({"CHAP_A=" + algorithms}));
  CHECK_FALSE(response.transit);
  CHECK(value_of(peer.data, "CHAP_A") == std::to_string(static_cast<int>(expected)));
  const auto id = static_cast<std::uint8_t>(std::stoi(value_of(peer.data, "CHAP_I")));
  return respond(value_of(peer.data, "CHAP_C"), id, secret, expected);
}

}  // namespace

TEST_CASE("login: CHAP with every algorithm, one-way and mutual") {
  for (const auto algorithm : iscsi::kAllChapAlgorithms) {
    for (const bool mutual : {false, true}) {
      World world(with_chap);
      Peer peer(world);
      const auto request = peer.login_request(LoginStage::security, LoginStage::operational);
      const std::string right = until_challenge(peer, std::to_string(static_cast<int>(algorithm)) + ",99", algorithm);
      std::string text = pairs({"CHAP_N=alice", "CHAP_R=" + right});
      if (mutual) text += pairs({"CHAP_I=200", "CHAP_C=0x0102030405060708"});
      const auto response = exchange(peer, request, text);
      CHECK(response.status == LoginStatus::success);
      CHECK(response.transit);
      if (mutual) {
        CHECK(value_of(peer.data, "CHAP_N") == "bob");
        CHECK(value_of(peer.data, "CHAP_R") == respond("0x0102030405060708", 200, "secret of bob", algorithm));
      } else {
        CHECK(value_of(peer.data, "CHAP_R") == "(none)");
      }
      CHECK(exchange(peer, straight(peer), "").tsih != 0);
    }
  }
}

TEST_CASE("login: CHAP that fails") {
  using iscsi::ChapAlgorithm;
  const auto fails = [](Peer& peer, const std::string& text) {
    const auto response = exchange(peer, peer.login_request(LoginStage::security, LoginStage::operational), text);
    CHECK(response.status == LoginStatus::authentication_failure);
    CHECK_FALSE(peer.is_open());
  };
  {
    World world(with_chap);
    Peer peer(world);
    const auto wrong = until_challenge(peer, "5", ChapAlgorithm::md5, "secret of mallory");
    fails(peer, pairs({"CHAP_N=alice", "CHAP_R=" + wrong}));
    CHECK(peer.reason().find("wrong user or secret") != std::string::npos);
  }
  {
    World world(with_chap);
    Peer peer(world);
    const auto right = until_challenge(peer, "5", ChapAlgorithm::md5);
    fails(peer, pairs({"CHAP_N=eve", "CHAP_R=" + right}));
  }
  {
    World world(with_chap);
    Peer peer(world);
    auto request = peer.login_request(LoginStage::security, LoginStage::operational);
    exchange(peer, request, Peer::names() + pairs({"AuthMethod=CHAP", "CHAP_A=5"}));
    const std::string theirs = value_of(peer.data, "CHAP_C");
    const auto id = static_cast<std::uint8_t>(std::stoi(value_of(peer.data, "CHAP_I")));
    const auto right = respond(theirs, id, "secret of alice", ChapAlgorithm::md5);
    fails(peer, pairs({"CHAP_N=alice", "CHAP_R=" + right, "CHAP_I=1", "CHAP_C=" + theirs}));
    CHECK(peer.reason().find("own CHAP challenge") != std::string::npos);
  }
  for (const char* text : {"AuthMethod=None", "AuthMethod=KRB5"}) {
    World world(with_chap);
    Peer peer(world);
    fails(peer, Peer::names() + pairs({text}));
  }
  {
    World world(with_chap);
    Peer peer(world);
    auto request = peer.login_request(LoginStage::security, LoginStage::operational);
    exchange(peer, request, Peer::names() + pairs({"AuthMethod=CHAP"}));
    fails(peer, pairs({"CHAP_A=1,2"}));
  }
  {
    World world(with_chap);
    Peer peer(world);
    auto request = peer.login_request(LoginStage::security, LoginStage::operational);
    exchange(peer, request, Peer::names() + pairs({"AuthMethod=CHAP"}));
    fails(peer, pairs({"CHAP_N=alice", "CHAP_R=0x00"}));
  }
  {
    World world(with_chap);
    Peer peer(world);
    CHECK(exchange(peer, straight(peer), Peer::names()).status == LoginStatus::authentication_failure);
  }
  {
    World world(with_chap);  // discovery is open to all
    Peer peer(world);
    const auto response =
        exchange(peer, straight(peer), pairs({std::string("InitiatorName=") + kInitiator, "SessionType=Discovery"}));
    CHECK(response.status == LoginStatus::success);
  }
}

TEST_CASE("login: further connections, their limit, and reinstatement") {
  World world;
  Peer first(world);
  first.log_in(pairs({"MaxConnections=2", "MaxBurstLength=65536"}));
  auto* session = world.server->find_session(first.tsih);
  REQUIRE(session != nullptr);
  CHECK(session->parameters().max_connections == 2);

  Peer second(world);
  second.cid = 1;
  second.tsih = first.tsih;
  second.log_in(pairs({"MaxRecvDataSegmentLength=4096"}));
  CHECK(session->connections().size() == 2);
  CHECK(second.engine().parameters().peer_max_recv_data_segment_length == 4096);

  Peer third(world);
  third.cid = 2;
  third.tsih = first.tsih;
  CHECK(exchange(third, straight(third), Peer::names()).status == LoginStatus::too_many_connections);

  Peer stranger(world);
  stranger.tsih = first.tsih;
  stranger.isid[5] = 9;
  CHECK(exchange(stranger, straight(stranger), Peer::names()).status == LoginStatus::session_does_not_exist);

  // The same CID again: the old connection goes.
  Peer again(world);
  again.cid = 1;
  again.tsih = first.tsih;
  again.log_in();
  CHECK_FALSE(second.is_open());
  CHECK(second.reason() == "the initiator has reinstated the connection");
  CHECK(session->connections().size() == 2);
  CHECK(first.is_open());

  // The same ISID without a TSIH: the whole old session goes, but not before the new login is through.
  Peer anew(world);
  exchange(anew, anew.login_request(LoginStage::operational, LoginStage::operational), Peer::names());
  CHECK(first.is_open());
  auto response = exchange(anew, straight(anew), "");
  CHECK(response.status == LoginStatus::success);
  CHECK(response.tsih != first.tsih);
  CHECK_FALSE(first.is_open());
  CHECK_FALSE(again.is_open());
  CHECK(world.server->sessions().size() == 1);

  anew.disconnect();
  CHECK(world.server->sessions().empty());
}
