// NOPs both ways, asynchronous messages.
#include <doctest/doctest.h>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using Kind = SessionEvent::Kind;

namespace {

Pdu event_message(Peer& peer, std::uint16_t cid, int event, std::uint16_t time2wait = 0) {
  return peer.async_message(cid, static_cast<AsyncEvent>(event), time2wait);
}

}  // namespace

TEST_CASE("nop: the target's ping is answered with its tag and LUN") {
  Peer peer;
  peer.start();
  const std::uint32_t before = peer.wire(0).stat_sn;
  peer.deliver(0, make_pdu(NopIn{.lun = 0x0007000000000000ULL, .ttt = 0xabcd, .sequence = peer.plain_sequence(0)}));
  const auto answer = peer.take(0, Opcode::nop_out).as<NopOut>();
  CHECK(answer.immediate);
  CHECK(answer.itt == kReservedTag);
  CHECK(answer.ttt == 0xabcd);
  CHECK(answer.lun == 0x0007000000000000ULL);
  CHECK(answer.cmd_sn == 1);  // immediate: carries the next, uses none up
  CHECK(answer.exp_stat_sn == before);
  peer.acknowledge(0);  // only news: nothing to answer
  CHECK(peer.idle(0));
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("nop: a flood of the target's pings is answered or costs the connection, and no more") {
  Peer peer;
  peer.start();
  peer.wire(0).takes = false;
  for (std::uint32_t i = 0; i < 1000; ++i) peer.send(0, peer.ping(0, i));
  peer.pump();
  CHECK(peer.saw(Kind::lost, "more NOP-In than we can answer"));
  peer.wire(0).takes = true;
  peer.relogin();
  check_works(peer);
}

TEST_CASE("nop: an idle connection is pinged, and the answer is enough") {
  Peer peer(pinging_settings());
  peer.start();
  for (int i = 0; i < 10; ++i) {
    peer.advance(5 * kSecond - 1);
    CHECK(peer.idle(0));
    peer.advance(1);
    const auto ping = peer.take(0, Opcode::nop_out).as<NopOut>();
    CHECK(ping.immediate);
    CHECK(ping.itt != kReservedTag);
    CHECK(ping.ttt == kReservedTag);
    peer.deliver(0, peer.pong(0, ping.itt));
  }
  CHECK(peer.session.counters().pings == 10);
  CHECK(peer.session.counters().losses == 0);
  peer.check_nothing_leaked();
}

TEST_CASE("nop: a connection that does not answer is given up") {
  Peer peer(pinging_settings(2));
  peer.start();
  Job& job = peer.jobs.simple();
  peer.advance(5 * kSecond);
  peer.take(0, Opcode::scsi_command);
  peer.take(0, Opcode::nop_out);
  peer.answer_ping(1);
  peer.advance(3 * kSecond - 1);
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.advance(1);
  CHECK(peer.saw(Kind::lost, describe(ConnectionError::nop_timed_out)));
  CHECK(job.outcome == Outcome::transport_disrupted);
  peer.relogin();
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("nop: any byte shows that the connection lives") {
  Peer peer(pinging_settings());
  peer.start();
  peer.advance(5 * kSecond);
  const auto ping = peer.take(0, Opcode::nop_out).as<NopOut>();
  for (int i = 0; i < 10; ++i) {
    peer.advance(2 * kSecond);
    peer.acknowledge(0);
  }
  CHECK(peer.session.state() == SessionState::logged_in);
  CHECK(peer.idle(0));  // one ping at a time
  peer.deliver(0, peer.pong(0, ping.itt));
  peer.check_nothing_leaked();
}

TEST_CASE("nop: a socket that takes nothing is noticed too") {
  Peer peer(pinging_settings());
  peer.start();
  peer.wire(0).takes = false;
  peer.advance(8 * kSecond);
  CHECK(peer.saw(Kind::lost, describe(ConnectionError::nop_timed_out)));
}

TEST_CASE("nop: a rejected ping was an answer") {
  Peer peer(pinging_settings());
  peer.start();
  peer.advance(5 * kSecond);
  const Pdu ping = peer.take(0, Opcode::nop_out);
  peer.reject(ping, RejectReason::immediate_command_reject);
  peer.advance(5 * kSecond - 1);
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.check_nothing_leaked();
}

TEST_CASE("nop: an answer with a tag or data of its own") {
  for (const bool data : {true, false}) {
    Peer peer(pinging_settings());
    peer.start();
    peer.advance(5 * kSecond);
    NopIn answer{.itt = peer.take(0, Opcode::nop_out).as<NopOut>().itt};
    if (!data) answer.ttt = 5;
    answer.sequence = peer.status_sequence(0);
    peer.deliver(0, make_pdu(answer, data ? Bytes(4) : Bytes{}));
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::protocol)));
  }
}

TEST_CASE("nop: an answer on another connection, or with a status skipped") {
  Peer peer(pinging_settings(2));
  peer.start();
  peer.advance(5 * kSecond);
  const std::uint32_t itt = peer.take(0, Opcode::nop_out).as<NopOut>().itt;
  SUBCASE("connection") {
    peer.deliver(1, peer.pong(1, itt));
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::wrong_connection)));
  }
  SUBCASE("status") {
    peer.status_sequence(0);
    peer.deliver(0, peer.pong(0, itt));
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::stat_sn)));
  }
  peer.relogin();
  peer.check_nothing_leaked();
}

TEST_CASE("nop: without an interval nobody is pinged") {
  Peer peer;
  peer.start();
  CHECK(peer.session.next_deadline() == kNever);
}

TEST_CASE("async message: what only needs to be known") {
  for (const int event : {0, 5, 255, 77}) {
    Peer peer(default_settings(2));
    peer.start();
    const Kind kind = event == 0 ? Kind::unit_event : Kind::notice;  // 0: SCSI's
    const auto told = peer.count(kind);
    peer.deliver(1, event_message(peer, 1, event));
    CHECK(peer.count(kind) == told + 1);
    CHECK(peer.session.counters().async_messages == 1);
    CHECK(peer.session.state() == SessionState::logged_in);
    peer.deliver(1, event_message(peer, 1, event));  // and it took a StatSN
    CHECK(peer.session.state() == SessionState::logged_in);
    check_works(peer);
  }
}

TEST_CASE("async message: the target asks for a logout") {
  for (const int event : {1, 4}) {
    for (const bool answers : {true, false}) {
      Peer peer(pinging_settings(2));
      peer.start();
      check_works(peer);
      Job& job = peer.jobs.simple();
      peer.take(0, Opcode::scsi_command);
      peer.deliver(1, event_message(peer, 1, event));
      CHECK(peer.session.state() == SessionState::logging_out);
      Job& later = peer.jobs.simple();
      const auto request = peer.take(0, Opcode::logout_request).as<LogoutRequest>();
      CHECK(request.immediate);
      CHECK(request.reason == LogoutReason::close_session);
      peer.deliver(1, event_message(peer, 1, event));  // it asks again
      if (answers) {
        peer.answer_logout(request);
      } else {
        peer.advance(15 * kSecond);
        CHECK(peer.saw(Kind::notice, "did not answer the logout"));
      }
      CHECK(peer.saw(Kind::lost, "logged out"));
      CHECK(job.outcome == Outcome::transport_disrupted);
      CHECK(later.outcome == Outcome::transport_disrupted);  // never sent, but handed back as well
      for (const std::uint16_t cid : kBothConnections) CHECK(peer.wire(cid).closes == 1);
      peer.login(0);  // at once
      peer.jobs.queue(later);
      peer.respond(0, peer.take_command().itt);
      CHECK(later.outcome == Outcome::completed);
      peer.login(1);
      peer.check_nothing_leaked();
    }
  }
}

TEST_CASE("async message: the target drops connections, and says how long to wait") {
  for (const int event : {2, 3}) {
    Peer peer(default_settings(2));
    peer.start();
    check_works(peer);
    Job& job = peer.jobs.simple();
    peer.pump();
    peer.deliver(1, event_message(peer, 1, event, 7));
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::asked_to_drop)));
    CHECK(job.outcome == Outcome::transport_disrupted);
    CHECK(peer.session.next_deadline() == peer.now + 7 * kSecond);
    peer.advance(7 * kSecond - 1);
    CHECK(peer.session.state() == SessionState::failed);
    peer.advance(1);
    peer.relogin();
    check_works(peer);
    // It was for that time only.
    peer.advance(kSecond);
    peer.disconnect(0);
    peer.pump();
    CHECK(peer.session.state() == SessionState::logging_in);
  }
}

TEST_CASE("async message: no target has us wait for ever") {
  Peer peer;
  peer.start();
  peer.deliver(0, event_message(peer, 0, 3, 65535));
  CHECK(peer.session.state() == SessionState::failed);
  CHECK(peer.session.next_deadline() == peer.now + Session::kMaxTime2Wait);
}
