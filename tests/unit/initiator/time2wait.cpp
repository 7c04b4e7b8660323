// Pauses that the target asks for before the next login (RFC 7143 sections 13.15, 11.15.3 and 11.9.1).
#include <doctest/doctest.h>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Kind = SessionEvent::Kind;

namespace {

SessionSettings with(Time2Wait time2wait) {
  auto settings = default_settings();
  settings.time2wait = time2wait;
  return settings;
}

/// A session with a target that wants 7 s, at work for long enough that a loss is followed by a login at once.
struct Waiting : Peer {
  explicit Waiting(Time2Wait time2wait) : Peer(with(time2wait)) {
    keys.answers["DefaultTime2Wait"] = "7";
    start();
    check_works(*this);
    advance(kSecond);
  }

  void check_waits(int seconds) {
    REQUIRE(session.state() == (seconds == 0 ? SessionState::logging_in : SessionState::failed));
    if (seconds > 0) {
      advance(seconds * kSecond - 1);
      CHECK(session.state() == SessionState::failed);
      advance(1);
    }
    CHECK(session.state() == SessionState::logging_in);
    login(0);
    CHECK(session.state() == SessionState::logged_in);
    check_works(*this);
  }

  /// The target asks for a logout; its answer to that names 3 s.
  void log_out(LogoutResult result) {
    deliver(0, async_message(0, AsyncEvent::logout_request));
    answer_logout(0, result, 3);
  }
};

}  // namespace

TEST_CASE("time2wait: ignored by default, and the login says so") {
  Waiting peer(Time2Wait::ignore);
  CHECK(peer.session.parameters().default_time2wait == 7);
  CHECK(peer.saw(Kind::logged_in, "DefaultTime2Wait of 7 s ignored"));
  peer.disconnect(0);
  peer.pump();
  peer.check_waits(0);
}

TEST_CASE("time2wait: none negotiated, nothing said") {
  Peer peer;
  peer.start();
  CHECK_FALSE(peer.saw(Kind::logged_in, "Time2Wait"));
}

TEST_CASE("time2wait: kept where it is to be kept, after each loss") {
  Waiting peer(Time2Wait::negotiated);
  CHECK_FALSE(peer.saw(Kind::logged_in, "ignored"));
  for (int i = 0; i < 2; ++i) {
    peer.disconnect(0);
    peer.pump();
    peer.check_waits(7);
    peer.advance(kSecond);
  }
  REQUIRE(peer.session.drop_connection(0, "for a test", peer.now));
  peer.pump();
  peer.check_waits(7);
}

TEST_CASE("time2wait: a login that fails is not a loss") {
  Waiting peer(Time2Wait::negotiated);
  peer.disconnect(0);
  peer.advance(7 * kSecond);
  peer.disconnect(0, "refused");
  peer.advance(kSecond);
  CHECK(peer.session.state() == SessionState::logging_in);
}

TEST_CASE("time2wait: what the target says at the end counts, whatever was negotiated") {
  for (const Time2Wait time2wait : {Time2Wait::ignore, Time2Wait::negotiated}) {
    {
      Waiting peer(time2wait);
      peer.log_out(LogoutResult::cleanup_failed);
      peer.check_waits(3);
    }
    {
      Waiting peer(time2wait);
      peer.log_out(LogoutResult::closed);  // an orderly end
      peer.check_waits(0);
    }
    for (const std::uint16_t wait : {std::uint16_t{4}, std::uint16_t{0}}) {
      Waiting peer(time2wait);
      peer.deliver(0, peer.async_message(0, AsyncEvent::drop_all_connections, wait));
      peer.check_waits(wait);
    }
  }
}

TEST_CASE("time2wait: a change takes effect at the next loss") {
  Waiting peer(Time2Wait::ignore);
  peer.session.retune(with(Time2Wait::negotiated));
  peer.disconnect(0);
  peer.pump();
  peer.check_waits(7);
}
