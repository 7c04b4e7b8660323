// A machine that was asleep: the steady clock knows nothing of it, and the target was out of sight all the same.
#include <doctest/doctest.h>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using Kind = SessionEvent::Kind;

namespace {

constexpr Micros kNight = 8 * 3600 * kSecond;

/// A second later the machine falls asleep, and a moment after it has woken somebody notices.
void sleep(Peer& peer) {
  peer.now += kSecond;
  peer.session.on_slept(kNight, peer.now);
}

Micros last_outage(const Peer& peer) {
  return peer.last(Kind::logged_in).outage;
}

}  // namespace

TEST_CASE("sleep: a session that was lost meanwhile was lost for as long") {
  Peer peer(pinging_settings(2));
  peer.start();
  check_works(peer);
  sleep(peer);
  peer.disconnect(0);
  peer.relogin();
  CHECK(last_outage(peer) >= kNight);
  CHECK(last_outage(peer) <= kNight + 10 * kSecond);
  // And no longer than that: it does not stay.
  check_works(peer);
  peer.advance(kSecond);
  peer.disconnect(0);
  peer.relogin();
  CHECK(last_outage(peer) <= 10 * kSecond);
}

TEST_CASE("sleep: a session that was lost before, too") {
  Peer peer(pinging_settings());
  peer.start();
  peer.auto_connect = false;
  peer.disconnect(0);
  peer.pump();
  sleep(peer);
  peer.auto_connect = true;
  peer.connect(0);
  peer.login(0);
  CHECK(last_outage(peer) >= kNight);
}

TEST_CASE("sleep: the first login knows no outage") {
  Peer peer(pinging_settings());
  sleep(peer);
  peer.session.setup(peer.now);
  sleep(peer);
  peer.login(0);
  CHECK(last_outage(peer) == 0);
}

TEST_CASE("sleep: whoever is heard of after it was not lost") {
  Peer peer(pinging_settings());
  peer.start();
  peer.now += kSecond;
  SUBCASE("later") {
    peer.session.on_slept(kNight, peer.now);
    check_works(peer);
  }
  SUBCASE("in the same turn in which it is noticed") {
    check_works(peer);
    peer.session.on_slept(kNight, peer.now);
  }
  peer.disconnect(0);
  peer.relogin();
  CHECK(last_outage(peer) <= kSecond);
}

TEST_CASE("sleep: every connection is pinged at once, and has its time to answer") {
  Peer peer(pinging_settings(2));
  peer.start();
  check_works(peer);
  sleep(peer);
  CHECK(peer.session.next_deadline() <= peer.now);
  peer.advance(0);
  peer.answer_ping(0);
  peer.take(1, Opcode::nop_out);
  peer.advance(3 * kSecond - 1);
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.advance(1);
  CHECK(peer.saw(Kind::lost, describe(ConnectionError::nop_timed_out)));
}

TEST_CASE("sleep: a ping that was under way keeps what time it has left") {
  Peer peer(pinging_settings());
  peer.start();
  peer.advance(6 * kSecond);
  peer.take(0, Opcode::nop_out);
  peer.session.on_slept(kNight, peer.now);
  peer.advance(2 * kSecond - 1);
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.advance(1);
  CHECK(peer.count(Kind::lost) == 1);
}

TEST_CASE("sleep: commands keep what time they have left") {
  auto settings = default_settings();
  Peer peer(settings);
  peer.start();
  Job& job = peer.jobs.simple();
  const std::uint32_t itt = peer.take_command().itt;
  const Micros deadline = peer.session.next_deadline();
  sleep(peer);
  CHECK(peer.session.next_deadline() == deadline);
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
}

TEST_CASE("nop: a ping that goes out late has its time all the same") {
  Peer peer(pinging_settings());
  peer.start();
  // The process was stopped for a while.
  peer.now += 60 * kSecond;
  peer.session.on_deadline(peer.now);
  peer.pump();
  peer.take(0, Opcode::nop_out);
  CHECK(peer.session.next_deadline() == peer.now + 3 * kSecond);
}
