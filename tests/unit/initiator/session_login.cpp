// Logins as a session does them: connections, portals, back-off, redirects, refusals, timeouts.
#include <doctest/doctest.h>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using Kind = SessionEvent::Kind;

namespace {

/// How long the session waits before its next attempt, with everything closed.
Micros wait_of(Peer& peer) {
  const Micros deadline = peer.session.next_deadline();
  REQUIRE(deadline != kNever);
  return deadline - peer.now;
}

}  // namespace

TEST_CASE("session login: leading and joining connections") {
  Peer peer(default_settings(3));
  peer.session.setup(peer.now);
  peer.pump();
  CHECK(peer.session.state() == SessionState::logging_in);
  CHECK(peer.wire(0).portal == Portal{"192.0.2.1", 3260});
  CHECK_FALSE(peer.wire(1).open);  // not before the leading connection is through

  const Pdu first = peer.take(0, Opcode::login_request);
  CHECK(first.as<LoginRequest>().tsih == 0);
  CHECK(first.as<LoginRequest>().cid == 0);
  CHECK(first.as<LoginRequest>().isid == kTestIsid);
  peer.answer_login(0, first);
  const Pdu second = peer.take(0, Opcode::login_request);
  CHECK(second.as<LoginRequest>().itt == first.as<LoginRequest>().itt);
  CHECK(second.as<LoginRequest>().cmd_sn == first.as<LoginRequest>().cmd_sn);
  CHECK(second.as<LoginRequest>().exp_stat_sn == peer.wire(0).stat_sn);
  REQUIRE(peer.answer_login(0, second));
  peer.pump();
  CHECK(peer.session.state() == SessionState::logged_in);
  CHECK(peer.session.trouble().empty());
  CHECK(peer.saw(Kind::logged_in, "192.0.2.1:3260"));

  for (const std::uint16_t cid : {std::uint16_t{1}, std::uint16_t{2}}) {
    CHECK(peer.wire(cid).portal == Portal{"192.0.2.1", 3260});
    const Pdu join = peer.take(cid, Opcode::login_request);
    CHECK(join.as<LoginRequest>().tsih == Peer::kTsih);
    CHECK(join.as<LoginRequest>().cid == cid);
    CHECK(join.as<LoginRequest>().isid == kTestIsid);
    peer.answer_login(cid, join);
    peer.login(cid);
    CHECK(peer.connection(cid).state() == ConnectionState::started);
    CHECK(peer.saw(Kind::connection_joined));
  }
  CHECK(peer.count(Kind::connection_joined) == 2);
  CHECK(peer.session.counters().logins == 1);
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("session login: byte by byte") {
  Peer peer(default_settings(2));
  peer.rx_chunk = peer.tx_chunk = 1;
  peer.tx_iovecs = 1;
  peer.rx_iovecs = 3;
  peer.start();
  check_works(peer);
}

TEST_CASE("session login: no more connections than the target grants") {
  Peer peer(default_settings(4));
  peer.keys.answers["MaxConnections"] = "2";
  peer.session.setup(peer.now);
  peer.login(0);
  peer.login(1);
  peer.advance(60 * kSecond);
  CHECK(peer.wire(1).connects == 1);
  CHECK(peer.wire(2).connects == 0);
  CHECK(peer.saw(Kind::logged_in, "granted 2 of 4"));
}

TEST_CASE("session login: a joining connection that is refused") {
  Peer peer(default_settings(2));
  peer.session.setup(peer.now);
  peer.login(0);
  SUBCASE("for good: the session goes on without it") {
    peer.refuse_login(1, LoginStatus::too_many_connections);
    peer.advance(100 * kSecond);
    CHECK(peer.wire(1).connects == 1);
    CHECK(peer.saw(Kind::notice, "goes on without it"));
  }
  SUBCASE("for now: it is tried again") {
    peer.refuse_login(1, LoginStatus::out_of_resources);
    CHECK(peer.wire(1).connects == 1);
    peer.advance(2 * kSecond);
    CHECK(peer.wire(1).connects == 2);
    peer.login(1);
  }
  SUBCASE("TCP fails") {
    peer.disconnect(1);
    peer.advance(2 * kSecond);
    peer.login(1);
  }
  SUBCASE("no answer") {
    peer.take(1, Opcode::login_request);
    peer.advance(15 * kSecond);
    CHECK_FALSE(peer.wire(1).open);
    peer.advance(2 * kSecond);
    peer.login(1);
  }
  SUBCASE("redirected: the session stays where it is") {
    for (int i = 0; i < 12; ++i) {
      peer.refuse_login(1, LoginStatus::redirect_permanent, {{"TargetAddress", "203.0.113.9:1"}});
      peer.advance(2 * kSecond);
    }
    CHECK(peer.wire(1).portal == Portal{"192.0.2.1", 3260});
    CHECK(peer.session.state() == SessionState::logged_in);
    peer.disconnect(0);
    peer.pump();
    CHECK(peer.wire(0).portal == Portal{"192.0.2.1", 3260});
    peer.relogin();
  }
  CHECK(peer.session.state() == SessionState::logged_in);
  check_works(peer);
}

TEST_CASE("session login: portals in turn, the first try at once, then 0.1 s doubling to 5 s") {
  Peer peer;
  peer.session.setup(peer.now);
  peer.pump();
  CHECK(peer.wire(0).portal.host == "192.0.2.1");
  peer.auto_connect = false;
  peer.disconnect(0, "connection refused");
  peer.pump();
  REQUIRE(peer.requests.size() == 2);  // at once
  CHECK(peer.requests.back().portal.host == "192.0.2.2");
  CHECK(peer.session.trouble().find("connection refused") != std::string::npos);
  Micros expected = 100 * kMillisecond;
  std::string portal = "192.0.2.2";
  for (int i = 0; i < 12; ++i) {
    peer.connection(0).on_disconnected("connection refused", peer.now);
    peer.pump();
    CHECK(peer.session.state() == SessionState::failed);
    const Micros wait = wait_of(peer);
    CHECK(wait <= expected);
    CHECK(wait >= expected * 3 / 4);  // the jitter shortens it
    peer.advance(wait - 1);
    CHECK(peer.session.state() == SessionState::failed);
    peer.advance(1);
    CHECK(peer.session.state() == SessionState::logging_in);
    portal = portal == "192.0.2.1" ? "192.0.2.2" : "192.0.2.1";
    CHECK(peer.requests.back().portal.host == portal);
    expected = std::min(2 * expected, 5 * kSecond);
  }
  CHECK(peer.session.counters().login_failures == 13);
  // A session that worked begins anew.
  peer.auto_connect = true;
  peer.connect(0);
  peer.login(0);
  check_works(peer);
  peer.advance(kSecond);
  peer.disconnect(0);
  peer.pump();
  CHECK(peer.session.state() == SessionState::logging_in);
}

TEST_CASE("session login: a session that dies before its first command is not hammered") {
  Peer peer;
  peer.start();
  Micros last = 0;
  for (int i = 0; i < 6; ++i) {
    peer.disconnect(0);
    peer.pump();
    last = peer.session.state() == SessionState::failed ? wait_of(peer) : 0;
    peer.advance(last);
    peer.login(0);
  }
  CHECK(last >= 1 * kSecond);
}

TEST_CASE("session login: refused, whatever the status, it is tried again") {
  for (const auto status : {LoginStatus::initiator_error, LoginStatus::authentication_failure, LoginStatus::not_found,
                            LoginStatus::target_error, LoginStatus::service_unavailable}) {
    Peer peer;
    peer.session.setup(peer.now);
    peer.refuse_login(0, status);
    CHECK(peer.saw(Kind::login_failed, describe(status)));
    CHECK(peer.session.trouble().find(describe(status)) != std::string::npos);
    CHECK(peer.wire(0).connects == 2);
    peer.refuse_login(0, status);
    CHECK(peer.session.state() == SessionState::failed);
    peer.advance(kSecond);
    peer.login(0);
    CHECK(peer.session.state() == SessionState::logged_in);
    CHECK(peer.session.trouble().empty());
    check_works(peer);
  }
}

TEST_CASE("session login: redirected for a time") {
  Peer peer;
  peer.session.setup(peer.now);
  peer.refuse_login(0, LoginStatus::redirect_temporary, {{"TargetAddress", "203.0.113.9:99,1"}});
  CHECK(peer.wire(0).portal == Portal{"203.0.113.9", 99});
  CHECK(peer.count(Kind::login_failed) == 0);
  CHECK(peer.session.counters().login_failures == 0);
  peer.login(0);
  check_works(peer);
  peer.disconnect(0);
  peer.pump();
  CHECK(peer.wire(0).portal == Portal{"192.0.2.1", 3260});  // back to what is configured
}

TEST_CASE("session login: redirected for good") {
  Peer peer;
  peer.session.setup(peer.now);
  peer.refuse_login(0, LoginStatus::redirect_permanent, {{"TargetAddress", "203.0.113.9:99,1"}});
  peer.login(0);
  check_works(peer);
  peer.disconnect(0);
  peer.pump();
  CHECK(peer.wire(0).portal == Portal{"203.0.113.9", 99});
  peer.auto_connect = false;
  peer.disconnect(0, "refused");  // it is no more: the configured portals stay the way back
  peer.advance(kSecond);
  CHECK(peer.requests.back().portal == Portal{"192.0.2.1", 3260});
}

TEST_CASE("session login: redirects in a circle end, and wait") {
  Peer peer;
  peer.session.setup(peer.now);
  int at_once = 0;
  while (peer.session.state() == SessionState::logging_in) {
    REQUIRE(++at_once < 50);
    peer.refuse_login(0, LoginStatus::redirect_permanent, {{"TargetAddress", "203.0.113.9:99,1"}});
  }
  CHECK(at_once > 4);  // some are followed
  CHECK(peer.saw(Kind::login_failed));
  // And so it stays, however often the circle is tried.
  for (int i = 0; i < 5; ++i) {
    peer.advance(wait_of(peer));
    CHECK(peer.wire(0).portal.host.starts_with("192.0.2."));
    for (int hops = 0; peer.session.state() == SessionState::logging_in; ++hops) {
      REQUIRE(hops < 50);
      peer.refuse_login(0, LoginStatus::redirect_permanent, {{"TargetAddress", "203.0.113.9:99,1"}});
    }
  }
  CHECK(wait_of(peer) >= kSecond);
  peer.advance(wait_of(peer));
  peer.login(0);
  check_works(peer);
}

TEST_CASE("session login: no answer in time") {
  Peer peer;
  SUBCASE("no connection") {
    peer.auto_connect = false;
  }
  SUBCASE("no response") {}
  peer.session.setup(peer.now);
  peer.pump();
  peer.advance(15 * kSecond - 1);
  CHECK(peer.session.state() == SessionState::logging_in);
  CHECK(peer.requests.size() == 1);
  peer.auto_connect = true;
  peer.advance(1);
  CHECK(peer.saw(Kind::login_failed, describe(ConnectionError::login_timed_out)));
  CHECK(peer.wire(0).portal.host == "192.0.2.2");
  peer.login(0);
  check_works(peer);
}

TEST_CASE("session login: a response with another task tag") {
  Peer peer;
  peer.session.setup(peer.now);
  const Pdu request = peer.take(0, Opcode::login_request);
  Pdu answer = make_pdu(
      LoginResponse{
          .transit = true, .next_stage = LoginStage::operational, .itt = request.as<LoginRequest>().itt + 1},
      to_text({{"AuthMethod", "None"}}));
  peer.deliver(0, answer);
  CHECK(peer.saw(Kind::login_failed, describe(ConnectionError::bad_itt)));
  peer.login(0);
  check_works(peer);
}

TEST_CASE("session login: an answer before the request is out") {
  Peer peer;
  peer.wire(0).takes = false;
  peer.session.setup(peer.now);
  peer.pump();
  peer.deliver(0, make_pdu(LoginResponse{.transit = true, .next_stage = LoginStage::operational}));
  CHECK(peer.saw(Kind::login_failed, describe(ConnectionError::protocol)));
  peer.wire(0).takes = true;
  peer.login(0);
  check_works(peer);
}

TEST_CASE("session login: what does not belong there") {
  for (const Pdu& wrong : {make_pdu(NopIn{}), make_pdu(ScsiResponse{}), make_pdu(DataIn{}, Bytes(100)),
                           make_pdu(TextResponse{}), make_pdu(LogoutResponse{}), make_pdu(Reject{}, Bytes(48))}) {
    Peer peer;
    peer.session.setup(peer.now);
    peer.take(0, Opcode::login_request);
    peer.deliver(0, wrong);
    CHECK(peer.saw(Kind::login_failed, describe(ConnectionError::protocol)));
    peer.login(0);
    check_works(peer);
  }
  Peer peer;
  peer.session.setup(peer.now);
  peer.take(0, Opcode::login_request);
  peer.deliver(0, make_pdu(LoginResponse{}, Bytes(8193)));  // more than a login may carry
  CHECK(peer.saw(Kind::login_failed, describe(ConnectionError::data_length)));
}

TEST_CASE("session login: the next incarnation keeps ISID and goes on with CmdSN") {
  Peer peer;
  peer.start();
  check_works(peer);
  check_works(peer);
  peer.disconnect(0);
  const auto again = peer.take(0, Opcode::login_request).as<LoginRequest>();
  CHECK(again.isid == kTestIsid);
  CHECK(again.tsih == 0);
  CHECK(again.cmd_sn == 3);
}

TEST_CASE("session login: commands wait for the session, and come back whenever an attempt has failed") {
  Peer peer;
  Job& before = peer.jobs.simple();  // before anything was begun
  peer.pump();
  CHECK(before.finished == 0);
  peer.session.setup(peer.now);
  Job& during = peer.jobs.simple();
  peer.pump();
  CHECK(before.finished + during.finished == 0);
  peer.disconnect(0);
  peer.pump();
  CHECK(before.outcome == Outcome::transport_disrupted);
  CHECK(during.outcome == Outcome::transport_disrupted);
  peer.jobs.queue(before);
  peer.jobs.queue(during);
  peer.login(0);
  for (Job* job : {&before, &during}) {
    peer.respond(0, peer.take_command().itt);
    CHECK(job->outcome == Outcome::completed);
  }
  peer.check_nothing_leaked();
}
