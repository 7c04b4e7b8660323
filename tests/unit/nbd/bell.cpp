// The connection rings where it makes work that its shell does not follow up, and whatever it is asked to do.
#include "proto/bell.hpp"

#include <algorithm>
#include <random>

#include <doctest/doctest.h>

#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Error;

namespace {

constexpr std::uint32_t kSegment = 4096;

/// What a shell looks at.
struct Wants {
  explicit Wants(const nbd::Connection& connection)
      : tx(connection.wants_tx()),
        rx(connection.wants_rx()),
        exported(connection.wants_export().has_value()),
        stalled(connection.stalled()),
        end(connection.wants_close() || connection.parked()),
        deadline(connection.next_deadline()) {}
  bool more_than(const Wants& before) const {
    return (tx && !before.tx) || (rx && !before.rx) || (exported && !before.exported) ||
           (stalled && !before.stalled) || (end && !before.end) || deadline < before.deadline;
  }
  bool tx, rx, exported, stalled, end;
  proto::Micros deadline;
};

struct Attached : Rig {
  explicit Attached(bool structured, const nbd::ConnectionOptions& options = {}) : Rig(options, kSegment) {
    automatic = false;
    feed(attach(structured));
    send();
    take();
    CHECK_FALSE(bell.rung());
  }
  /// Whether the call rings. The shell looks then.
  template <typename Call>
  bool rings(Call call) {
    bell.listen();
    call();
    const bool rung = bell.rung();
    serve();
    return rung;
  }
};

}  // namespace

TEST_CASE("bell: outcomes ring, once until the shell has looked") {
  Attached rig(true);
  rig.feed(request(kRead, 0, 1, 0, 2 * kSegment) + request(kRead, 0, 2, 0, kSegment));
  rig.told = 0;
  rig.backend.read_segment(*rig.backend.running()[0], 1);
  CHECK(rig.told == 1);
  rig.backend.complete(*rig.backend.running()[1]);
  CHECK(rig.told == 1);
  rig.send();
  rig.backend.complete(*rig.backend.running()[0]);
  CHECK(rig.told == 2);
}

TEST_CASE("bell: a READ without structured replies rings at its end only") {
  Attached rig(false);
  rig.feed(request(kRead, 0, 1, 0, 2 * kSegment));
  CHECK_FALSE(rig.rings([&] { rig.backend.read_segment(*rig.backend.running()[0], 0); }));
  CHECK(rig.rings([&] { rig.backend.complete(*rig.backend.running()[0]); }));
}

TEST_CASE("bell: each call of the shell rings that may make work") {
  Attached rig(true);
  CHECK(rig.rings([&] { rig.connection.set_stall_timeout(proto::kSecond, rig.now); }));
  CHECK(rig.rings([&] { rig.connection.on_deadline(rig.now); }));
  SUBCASE("drain") {
    CHECK(rig.rings([&] { rig.connection.begin_drain(rig.now); }));
  }
  SUBCASE("handover") {
    CHECK(rig.rings([&] { rig.connection.begin_handover(rig.now); }));
  }
  SUBCASE("peer gone") {
    CHECK(rig.rings([&] { rig.connection.on_peer_gone(false, rig.now); }));
  }
  SUBCASE("peer lost") {
    rig.connection.on_peer_lost();
    CHECK(rig.rings([&] { rig.connection.on_peer_gone(false, rig.now); }));
  }
  SUBCASE("the end is the last that is said") {
    CHECK_FALSE(rig.rings([&] { rig.connection.on_disconnected(rig.now); }));
    CHECK_FALSE(rig.rings([&] { rig.connection.begin_drain(rig.now); }));
    CHECK_FALSE(rig.rings([&] { rig.connection.on_room(rig.now); }));
  }
}

TEST_CASE("bell: to ask for room in vain rings nothing") {
  Attached rig(true);
  bool full = true;
  rig.backend.no_room = [&] { return full; };
  CHECK_FALSE(rig.rings([&] { rig.connection.on_room(rig.now); }));  // it waits for none
  rig.feed(request(kRead, 0, 1, 0, kSegment));
  REQUIRE(rig.connection.stalled());
  CHECK_FALSE(rig.rings([&] { rig.connection.on_room(rig.now); }));
  full = false;
  CHECK(rig.rings([&] { rig.connection.on_room(rig.now); }));
  CHECK_FALSE(rig.connection.stalled());
}

TEST_CASE("bell: whatever is done to a connection, it rings if its shell has more to look at than before") {
  std::mt19937_64 random = seeded_random();
  const auto below = [&](std::uint64_t end) { return random() % end; };
  for (int run = 0; run < 300; ++run) {
    Attached rig(below(2) == 0, {.max_in_flight = 4, .stall_timeout = proto::kSecond});
    std::string input;
    bool full = false;
    rig.backend.no_room = [&] { return full; };
    for (int step = 0; step < 60; ++step) {
      const Wants before(rig.connection);
      rig.bell.listen();
      const std::uint64_t what = below(12);
      CAPTURE(run);
      CAPTURE(step);
      CAPTURE(what);
      rig.now += static_cast<proto::Micros>(below(300'000));
      const auto running = rig.backend.running();
      switch (what) {
        case 0:
        case 1:
        case 2: {
          if (input.empty()) {
            const auto length = static_cast<std::uint32_t>((1 + below(3)) * kSegment);
            const std::uint16_t command = below(2) == 0 ? kRead : kWrite;
            input = request(command, 0, random(), 0, length);
            if (command == kWrite) input += std::string(length, 'x');
          }
          std::array<iovec, proto::kRxIovecs> room;
          if (rig.connection.rx_buffers(room) == 0) break;
          const std::size_t length = std::min({input.size(), room[0].iov_len, std::size_t{1 + below(8000)}});
          std::memcpy(room[0].iov_base, input.data(), length);
          input.erase(0, length);
          rig.connection.on_received(length, rig.now);
          break;
        }
        case 3:
        case 4:
        case 5:
          if (!running.empty()) {
            FakeRequest& one = *running[below(running.size())];
            const bool whole = one.header.command == proto::nbd::Command::read || one.received == one.header.length;
            rig.backend.complete(one, whole && below(4) != 0 ? Error::none : Error::eio);
          }
          break;
        case 6:
        case 7:
          rig.send(1 + below(6000));
          break;
        case 8:
          full = below(2) == 0;
          break;
        case 9:
          rig.connection.on_room(rig.now);
          break;
        case 10:
          if (rig.connection.next_deadline() <= rig.now) rig.connection.on_deadline(rig.now);
          break;
        default:
          if (step < 40) break;
          if (below(3) == 0) rig.connection.begin_drain(rig.now);
          if (below(3) == 0) rig.connection.begin_handover(rig.now);
          if (below(3) == 0) rig.connection.on_peer_gone(below(2) == 0, rig.now);
          break;
      }
      // The shell looks after it has sent, whatever the engine says.
      const bool looks = what == 6 || what == 7;
      if (!looks && !rig.bell.rung()) REQUIRE_FALSE(Wants(rig.connection).more_than(before));
    }
  }
}
