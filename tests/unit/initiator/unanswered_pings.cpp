// A target that works, but answers no NOP-Out, and what must not be taken for one.
#include <doctest/doctest.h>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Kind = SessionEvent::Kind;

namespace {

constexpr std::string_view kHint = "timeouts.nop_interval: 0s";

/// Idle until the ping's time is over, and logged in again.
void lose_for_a_ping(Peer& peer) {
  const std::size_t losses = peer.count(Kind::lost);
  peer.advance(8 * kSecond);
  REQUIRE(peer.count(Kind::lost) == losses + 1);
  peer.advance(kSecond);
  peer.relogin();
}

}  // namespace

TEST_CASE("pings: that a target answers none is said from the second loss on") {
  for (const std::uint16_t connections : {std::uint16_t{1}, std::uint16_t{3}}) {
    Peer peer(pinging_settings(connections));
    peer.start();
    check_works(peer);
    lose_for_a_ping(peer);
    CHECK_FALSE(peer.saw(Kind::lost, kHint));
    check_works(peer);
    lose_for_a_ping(peer);
    CHECK(peer.saw(Kind::lost, "2 times in a row"));
    CHECK(peer.saw(Kind::lost, kHint));
    lose_for_a_ping(peer);
    CHECK(peer.saw(Kind::lost, "3 times in a row"));
  }
}

TEST_CASE("pings: one that is answered makes the next loss the first again") {
  Peer peer(pinging_settings());
  peer.start();
  lose_for_a_ping(peer);
  peer.advance(5 * kSecond);
  peer.answer_ping(0);
  peer.advance(5 * kSecond);
  peer.take(0, Opcode::nop_out);
  peer.advance(3 * kSecond);
  REQUIRE(peer.count(Kind::lost) == 2);
  CHECK_FALSE(peer.saw(Kind::lost, kHint));
}

TEST_CASE("pings: a path that is gone is not blamed on the target") {
  Peer peer(pinging_settings(2));
  peer.start();
  lose_for_a_ping(peer);
  SUBCASE("a command was unanswered, too") {
    peer.jobs.simple();
    peer.advance(8 * kSecond);
  }
  SUBCASE("a command was sent behind the ping") {
    peer.advance(6 * kSecond);
    peer.jobs.simple();
    peer.advance(2 * kSecond);
  }
  SUBCASE("a command was unanswered on another connection") {
    peer.jobs.simple();
    REQUIRE_FALSE((peer.pump(), peer.idle(0)));
    peer.advance(5 * kSecond);
    // The idle one is found out first.
    peer.take(0, Opcode::scsi_command);
    peer.answer_ping(0);
    peer.advance(3 * kSecond);
  }
  SUBCASE("a command waited for the window") {
    peer.window = 1;
    peer.jobs.simple();
    peer.jobs.simple();
    peer.advance(8 * kSecond);
  }
  SUBCASE("nothing could be sent") {
    peer.wire(0).takes = peer.wire(1).takes = false;
    peer.advance(8 * kSecond);
    peer.wire(0).takes = peer.wire(1).takes = true;
  }
  SUBCASE("the target closed it in between") {
    peer.disconnect(0);
    peer.advance(kSecond);
    peer.relogin();
    peer.advance(8 * kSecond);
  }
  CHECK(peer.count(Kind::lost) >= 2);
  CHECK_FALSE(peer.saw(Kind::lost, kHint));
}

TEST_CASE("pings: a loss after which there was no way back at once does not count") {
  Peer peer(pinging_settings());
  peer.start();
  peer.auto_connect = false;
  peer.advance(9 * kSecond);
  peer.connection(0).on_disconnected("no route to host", peer.now);
  peer.auto_connect = true;
  peer.advance(kSecond);
  peer.relogin();
  REQUIRE(peer.count(Kind::login_failed) == 1);
  lose_for_a_ping(peer);
  CHECK(peer.count(Kind::lost) == 2);
  CHECK_FALSE(peer.saw(Kind::lost, kHint));
}

TEST_CASE("pings: commands that are answered on other connections do not hide it") {
  Peer peer(pinging_settings(2));
  peer.start();
  for (int i = 0; i < 2; ++i) {
    for (int second = 0; second < 8; ++second) {  // the second connection is idle: it is the one that is pinged
      if (second == 7) {
        peer.jobs.simple();
        peer.take(0, Opcode::scsi_command);
      } else {
        check_works(peer);
      }
      peer.advance(kSecond);
    }
    REQUIRE(peer.count(Kind::lost) == static_cast<std::size_t>(i) + 1);
    peer.advance(kSecond);
    peer.relogin();
  }
  CHECK(peer.saw(Kind::lost, kHint));
}
