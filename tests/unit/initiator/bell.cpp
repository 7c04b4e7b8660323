// The session rings where it makes work that its shell does not follow up. Peer checks after whatever any test does
// that a session which wants its turn has rung; here is that each call does, and nothing else.
#include "proto/bell.hpp"

#include <doctest/doctest.h>

#include <cstring>

#include "tests/unit/initiator/ladder.hpp"
#include "tests/unit/initiator/peer.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using initiator::Direction;
using initiator::Rung;

namespace {

/// Whether the call rings. What follows from it happens then.
template <typename Call>
bool rings(Peer& peer, Call call) {
  peer.pump();
  REQUIRE_FALSE(peer.session.wants_turn());
  peer.bell.listen();
  call();
  const bool rung = peer.bell.rung();
  peer.pump();
  return rung;
}

initiator::RecoveryRequest by_hand(Rung rung) {
  return {.id = 7, .rung = rung};
}

}  // namespace

TEST_CASE("bell: a session that is set up asks for its socket") {
  Peer peer;
  peer.bell.listen();
  peer.session.setup(peer.now);
  CHECK(peer.bell.rung());
  CHECK(peer.session.wants_turn());
}

TEST_CASE("bell: each call that makes work rings") {
  Peer peer(default_settings(2));
  peer.start();
  CHECK_FALSE(rings(peer, [] {}));
  CHECK(rings(peer, [&] { peer.jobs.simple(); }));
  CHECK(rings(peer, [&] { peer.session.retune(peer.session.settings()); }));
  CHECK(rings(peer, [&] { peer.session.on_slept(proto::kSecond, peer.now); }));
  CHECK(rings(peer, [&] { peer.session.on_deadline(peer.now); }));
  CHECK(rings(peer, [&] { peer.session.errand_over(nullptr, peer.now); }));
  SUBCASE("a rung by hand") {
    CHECK(rings(peer, [&] { REQUIRE(peer.session.request_recovery(by_hand(Rung::target_warm_reset))); }));
  }
  SUBCASE("another portal") {
    CHECK(rings(peer, [&] { REQUIRE(peer.session.leave_portal("why", peer.now)); }));
  }
  SUBCASE("a connection dropped") {
    CHECK(rings(peer, [&] { REQUIRE(peer.session.drop_connection(1, "why", peer.now)); }));
  }
  SUBCASE("a connection lost") {
    CHECK(rings(peer, [&] { peer.disconnect(1); }));
  }
  SUBCASE("teardown") {
    CHECK(rings(peer, [&] { peer.session.teardown(peer.now); }));
  }
  SUBCASE("what is refused makes none") {
    CHECK_FALSE(rings(peer, [&] { CHECK_FALSE(peer.session.drop_connection(5, "why", peer.now)); }));
    CHECK_FALSE(rings(peer, [&] { peer.session.recall(99); }));
  }
}

TEST_CASE("bell: what is recalled is to be delivered") {
  Peer peer;
  peer.window = 0;  // nothing can be sent
  peer.start();
  Job& job = peer.jobs.simple();
  peer.pump();
  CHECK_FALSE(peer.session.wants_turn());
  CHECK(rings(peer, [&] { peer.session.recall(job.lun); }));
  CHECK(job.outcome == initiator::Outcome::recalled);
}

TEST_CASE("bell: a session that is stopping hands commands back at once") {
  Peer peer;
  peer.start();
  peer.session.teardown(peer.now);
  peer.pump();
  Job* job = nullptr;
  CHECK(rings(peer, [&] { job = &peer.jobs.simple(); }));
  CHECK(job->outcome == initiator::Outcome::path_lost);
}

TEST_CASE("bell: what comes in rings, and what is sent is followed up by the shell") {
  Peer peer;
  peer.start();
  Job& job = peer.jobs.simple();
  peer.pump();
  const std::uint32_t itt = peer.take(0, proto::iscsi::Opcode::scsi_command).as<proto::iscsi::ScsiCommandPdu>().itt;
  const Bytes answer = to_bytes(peer.response(0, itt), false, false);
  CHECK(rings(peer, [&] {
    for (std::size_t given = 0; given < answer.size();) {
      iovec room[4];
      REQUIRE(peer.connection(0).rx_buffers(room) > 0);
      const std::size_t length = std::min(answer.size() - given, room[0].iov_len);
      std::memcpy(room[0].iov_base, answer.data() + given, length);
      peer.connection(0).on_received(length, peer.now);
      given += length;
    }
  }));
  CHECK(job.outcome == initiator::Outcome::completed);
}

TEST_CASE("bell: at random, no call leaves a session that wants its turn and has not rung") {
  std::mt19937_64 random = seeded_random();
  for (int run = 0; run < 60; ++run) {
    auto settings = default_settings(static_cast<std::uint16_t>(1 + random() % 3));
    settings.nop_interval = random() % 2 == 0 ? 0 : 5 * proto::kSecond;
    Peer peer(settings, random());
    peer.start();
    for (int step = 0; step < 60; ++step) {
      CAPTURE(run);
      CAPTURE(step);
      const auto wanted = peer.session.wants_turn();
      const proto::Micros deadline = peer.session.next_deadline();
      peer.bell.listen();
      switch (random() % 12) {
        case 0:
          peer.jobs.write(static_cast<std::uint32_t>(512 * (1 + random() % 200)));
          break;
        case 1:
          peer.session.recall(0);
          break;
        case 2:
          if (peer.session.escalation().takes_requests()) {
            peer.session.request_recovery(by_hand(random() % 2 == 0 ? Rung::target_warm_reset : Rung::session_reset));
          }
          break;
        case 3:
          if (random() % 4 == 0) peer.session.drop_connection(0, "by hand", peer.now);
          break;
        case 4:
          if (random() % 4 == 0) peer.session.leave_portal("by hand", peer.now);
          break;
        case 5:
          peer.session.retune(settings);
          break;
        case 6:
          peer.now += static_cast<proto::Micros>(random() % 3'000'000);
          if (peer.session.next_deadline() <= peer.now) peer.session.on_deadline(peer.now);
          break;
        case 7:
          if (random() % 20 == 0) peer.session.teardown(peer.now);
          break;
        case 8:
          peer.session.errand_over(nullptr, peer.now);
          break;
        default:
          peer.jobs.simple();
          break;
      }
      if (!peer.bell.rung()) {
        REQUIRE((wanted || !peer.session.wants_turn()));
        REQUIRE(peer.session.next_deadline() >= deadline);
      }
      // The target answers logins only: all else waits, is overdue, and so on.
      if (random() % 2 == 0) {
        peer.bell.ring();
        peer.pump();
        for (std::uint16_t cid = 0; cid < peer.session.connection_count(); ++cid) {
          if (peer.connection(cid).state() == initiator::ConnectionState::login && !peer.idle(cid)) peer.login(cid);
        }
      }
    }
    peer.bell.ring();
    peer.session.teardown(peer.now);
    peer.advance(60 * proto::kSecond);
  }
}
