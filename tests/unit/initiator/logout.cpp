// Teardown, in every state.
#include <doctest/doctest.h>

#include "gateway/initiator/host.hpp"
#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using Kind = SessionEvent::Kind;

namespace {

void check_terminated(Peer& peer) {
  CHECK(peer.session.state() == SessionState::terminated);
  CHECK(peer.count(Kind::terminated) == 1);
  CHECK(peer.session.next_deadline() == kNever);
  for (std::uint16_t cid = 0; cid < peer.session.connection_count(); ++cid) {
    CHECK(peer.connection(cid).state() == ConnectionState::free);
    CHECK_FALSE(peer.wire(cid).open);
  }
  for (const auto& job : peer.jobs.all) {
    REQUIRE(job->finished == 1);
    CHECK((job->outcome == Outcome::path_lost || job->outcome == Outcome::completed));
  }
  peer.check_nothing_leaked();
  // Whoever comes now learns it at once, and teardown again does nothing.
  Job& late = peer.jobs.simple();
  peer.session.teardown(peer.now);
  peer.pump();
  CHECK(late.outcome == Outcome::path_lost);
  peer.advance(100 * kSecond);
  CHECK(peer.session.state() == SessionState::terminated);
  CHECK(peer.count(Kind::terminated) == 1);
}

}  // namespace

TEST_CASE("teardown: logged in, with commands everywhere") {
  Peer peer(default_settings(2));
  peer.start();
  peer.window = 1;
  peer.jobs.read(100);
  peer.jobs.write(60'000);
  peer.pump();
  for (int i = 0; i < 100; ++i) peer.jobs.simple();
  peer.pump();
  peer.wire(0).inbox.clear();
  peer.session.teardown(peer.now);
  CHECK(peer.session.state() == SessionState::logging_out);
  Job& late = peer.jobs.simple();
  peer.pump();
  CHECK(late.outcome == Outcome::path_lost);
  const Pdu pdu = peer.take(0, Opcode::logout_request);
  const auto request = pdu.as<LogoutRequest>();
  CHECK(request.reason == LogoutReason::close_session);
  SUBCASE("the target answers") {
    peer.answer_logout(request);
  }
  SUBCASE("the target answers that it could not") {
    peer.deliver(0, make_pdu(LogoutResponse{.response = LogoutResult::cleanup_failed,
                                            .itt = request.itt,
                                            .sequence = peer.status_sequence(0),
                                            .time2wait = 9}));
  }
  SUBCASE("the target does not answer") {
    peer.advance(15 * kSecond - 1);
    CHECK(peer.session.state() == SessionState::logging_out);
    peer.advance(1);
  }
  SUBCASE("the target closes the leading connection") {
    peer.disconnect(0);
  }
  SUBCASE("the target closes the other connection") {
    peer.disconnect(1);
  }
  SUBCASE("the target rejects it") {
    peer.reject(pdu, RejectReason::protocol_error);
  }
  SUBCASE("sockets that close late") {
    peer.auto_close = false;
    peer.answer_logout(request);
    CHECK(peer.session.state() == SessionState::logging_out);
    peer.disconnect(0);
    CHECK(peer.session.state() == SessionState::logging_out);
    peer.disconnect(1);
    peer.auto_close = true;
  }
  peer.pump();
  check_terminated(peer);
}

TEST_CASE("teardown: no ping and no command after the Logout") {
  auto settings = default_settings(2);
  settings.nop_interval = 2 * kSecond;
  Peer peer(settings);
  peer.start();
  peer.session.teardown(peer.now);
  peer.jobs.simple();
  peer.take(0, Opcode::logout_request);
  peer.advance(14 * kSecond);
  CHECK(peer.idle(0));
  CHECK(peer.idle(1));
  CHECK(peer.session.counters().pings == 0);
}

TEST_CASE("teardown: no data after the Logout, asked for before it or after") {
  Peer peer(default_settings(2));
  peer.keys.answers["InitialR2T"] = "Yes";
  peer.start();
  Job& job = peer.jobs.write(60'000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.wire(0).takes = false;
  peer.deliver(0, peer.r2t(0, itt, 0, 8192, 20'000, 1));
  // Three PDUs of it are in the send queue; what comes now finds room, but is not sent.
  peer.session.teardown(peer.now);
  peer.deliver(0, peer.r2t(0, itt, 1, 28'192, 20'000, 2));
  peer.wire(0).takes = true;
  for (int i = 0; i < 3; ++i) peer.take(0, Opcode::data_out);
  const auto request = peer.take(0, Opcode::logout_request).as<LogoutRequest>();
  peer.deliver(0, peer.r2t(0, itt, 2, 48'192, 5000, 3));
  CHECK(peer.idle(0));
  peer.answer_logout(request);
  CHECK(job.outcome == Outcome::path_lost);
  check_terminated(peer);
}

TEST_CASE("teardown: commands that end while the Logout runs") {
  Peer peer;
  peer.start();
  Job& job = peer.jobs.simple();
  const std::uint32_t itt = peer.take_command().itt;
  peer.session.teardown(peer.now);
  const auto request = peer.take(0, Opcode::logout_request).as<LogoutRequest>();
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
  peer.answer_logout(request);
  check_terminated(peer);
}

TEST_CASE("teardown: before anything was begun") {
  Peer peer(default_settings(2));
  peer.jobs.simple();
  peer.session.teardown(peer.now);
  peer.pump();
  check_terminated(peer);
}

TEST_CASE("teardown: while connecting") {
  for (const bool late_close : {true, false}) {
    Peer peer;
    peer.auto_connect = false;
    peer.auto_close = !late_close;
    peer.session.setup(peer.now);
    peer.jobs.simple();
    peer.pump();
    peer.session.teardown(peer.now);
    peer.pump();
    if (late_close) {
      CHECK(peer.session.state() == SessionState::logging_out);
      peer.connection(0).on_connected(peer.now);  // it comes up just then
      CHECK(peer.connection(0).state() == ConnectionState::stopped);
      peer.connection(0).on_disconnected("closed", peer.now);
      peer.pump();
    }
    check_terminated(peer);
  }
}

TEST_CASE("teardown: while the leading connection logs in") {
  Peer peer;
  peer.session.setup(peer.now);
  peer.jobs.simple();
  peer.take(0, Opcode::login_request);
  peer.session.teardown(peer.now);
  peer.pump();
  check_terminated(peer);
}

TEST_CASE("teardown: while a connection joins") {
  Peer peer(default_settings(2));
  peer.session.setup(peer.now);
  peer.login(0);
  const Pdu join = peer.take(1, Opcode::login_request);
  peer.session.teardown(peer.now);
  const auto request = peer.take(0, Opcode::logout_request).as<LogoutRequest>();
  SUBCASE("and has not joined") {}
  SUBCASE("and joins") {
    peer.answer_login(1, join);
    peer.login(1);
  }
  SUBCASE("and fails") {
    peer.disconnect(1);
  }
  peer.answer_logout(request);
  check_terminated(peer);
}

TEST_CASE("teardown: while the session is down and waits") {
  Peer peer;
  peer.session.setup(peer.now);
  peer.pump();
  peer.disconnect(0);
  peer.pump();
  peer.disconnect(0);
  peer.pump();
  REQUIRE(peer.session.state() == SessionState::failed);
  peer.jobs.simple();
  peer.session.teardown(peer.now);
  peer.pump();
  check_terminated(peer);
}

TEST_CASE("teardown: while the sockets of the lost session close") {
  Peer peer(default_settings(2));
  peer.start();
  peer.jobs.simple();
  peer.pump();
  peer.auto_close = false;
  peer.disconnect(1);
  peer.pump();
  REQUIRE(peer.session.state() == SessionState::failed);
  REQUIRE(peer.connection(0).state() == ConnectionState::stopped);
  // The one command was handed back by the loss.
  CHECK(peer.jobs.all[0]->outcome == Outcome::transport_disrupted);
  peer.jobs.all.clear();
  peer.session.teardown(peer.now);
  CHECK(peer.session.state() == SessionState::logging_out);
  peer.disconnect(0);
  peer.auto_close = true;
  peer.pump();
  check_terminated(peer);
}

TEST_CASE("teardown: while a logout runs that the target asked for") {
  Peer peer;
  peer.start();
  peer.jobs.simple();
  peer.take(0, Opcode::scsi_command);
  peer.deliver(0, peer.async_message(0, AsyncEvent::logout_request));
  const auto request = peer.take(0, Opcode::logout_request).as<LogoutRequest>();
  peer.session.teardown(peer.now);
  CHECK(peer.session.state() == SessionState::logging_out);
  peer.answer_logout(request);
  check_terminated(peer);
}

TEST_CASE("host: sessions with names of their own, and a way to end them all") {
  SeededSource random(1);
  Host host("iqn.2026-11.io.nbdgw:host", random);
  host.add(default_settings(), 1, 0);
  host.add(default_settings(), 0x01020304, 0);
  CHECK(host.session_count() == 2);
  CHECK(host.session(0).settings().initiator_name == "iqn.2026-11.io.nbdgw:host");
  CHECK(host.session(0).state() == SessionState::logging_in);
  CHECK(make_isid(1) != make_isid(2));
  CHECK(make_isid(0x01020304) == Isid{0x80, 0, 0x01, 0x02, 0x03, 0x04});
  CHECK((make_isid(0xffffffff)[0] & 0xc0) == 0x80);
  CHECK_FALSE(host.removed());
  host.remove(0);
  CHECK_FALSE(host.removed());
  for (std::size_t i = 0; i < 2; ++i) host.session(i).connection(0).on_disconnected("closed", 0);
  CHECK(host.removed());
}
