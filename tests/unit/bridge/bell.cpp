// The export rings where it makes work that its shell does not follow up: whoever has called it. Bench checks before
// each deliver() of any test that an export which wants its turn has rung.
#include "proto/bell.hpp"

#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"
#include "tests/unit/random.hpp"

using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::ExportState;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;

namespace {

/// Whether the call rings. The shell looks then, and fetches what there is to be fetched.
template <typename Call>
bool rings(Bench& bench, Call call) {
  const auto look = [&] {
    for (int i = 0; i < 3; ++i) {
      bench.deliver();
      bench.events();
      bench.target->take_news();
    }
  };
  look();
  REQUIRE_FALSE(bench.target->wants_turn());
  bench.bell.listen();
  call();
  const bool rung = bench.bell.rung();
  look();
  return rung;
}

ExportConfig patient() {
  ExportConfig config;
  config.hold_timeout = 20 * kSecond;
  return config;
}

}  // namespace

TEST_CASE("bell: the calls of the shell ring that change something") {
  Bench bench({}, patient());
  CHECK_FALSE(rings(bench, [&] { bench.target->on_unit_event("before the session", bench.now); }));
  CHECK(rings(bench, [&] { bench.target->on_session_up(0, bench.now); }));
  bench.run();
  REQUIRE(bench.target->state() == ExportState::online);
  CHECK_FALSE(rings(bench, [] {}));
  CHECK(rings(bench, [&] { bench.target->on_unit_event("why", bench.now); }));
  bench.run();
  CHECK(rings(bench, [&] { bench.target->on_unit_reset(bench.now); }));
  bench.run();
  CHECK(rings(bench, [&] { CHECK(bench.target->rescan(7, bench.now)); }));
  bench.run();
  CHECK(rings(bench, [&] { bench.target->poll_capacity(bench.now); }));
  bench.run();
  CHECK(rings(bench, [&] { bench.target->on_deadline(bench.now); }));
  CHECK(rings(bench, [&] { bench.target->on_session_down("why", bench.now); }));
}

TEST_CASE("bell: what a client has refused is an outcome to be told") {
  Bench bench;
  bench.connect();
  bench.target->drain();
  Reply* reply = nullptr;
  CHECK(rings(bench, [&] { reply = bench.write(0, 4096, 1); }));
  CHECK(reply->error == Error::eshutdown);
}

TEST_CASE("bell: a part of a READ that has been sent makes way for the next") {
  Bench bench({}, {}, 4 << 20);
  bench.stake.in_pieces = true;
  bench.connect();
  bench.release_at_once = false;
  Reply* const reply = bench.read(0, Bench::kMaxPayload);
  bench.run();
  REQUIRE_FALSE(reply->finished);
  REQUIRE(reply->bytes > 0);
  CHECK(rings(bench, [&] { bench.target->release(*reply->request, *reply->request->segments); }));
}

TEST_CASE("bell: a request that is abandoned lets go of what waits behind it") {
  Bench bench({}, patient());
  bench.connect();
  bench.target->on_session_down("why", bench.now);
  Reply* const first = bench.zero(0, 4096);
  Reply* const behind = bench.zero(0, 4096);
  REQUIRE_FALSE(behind->finished);
  CHECK(rings(bench, [&] { bench.target->abandon(*first->request); }));
  bench.reconnect();
  bench.run();
  CHECK(behind->finished);
}

TEST_CASE("bell: whatever clients and the session do, an export that wants its turn has rung") {
  std::mt19937_64 random = nbdgw::test::seeded_random();
  const auto below = [&](std::uint64_t end) { return random() % end; };
  for (int run = 0; run < 100; ++run) {
    Bench bench({}, patient());
    bench.connect();
    std::vector<Reply*> open;
    bench.release_at_once = true;
    for (int step = 0; step < 100; ++step) {
      CAPTURE(run);
      CAPTURE(step);
      const bool wanted = bench.target->wants_turn();
      const nbdgw::proto::Micros deadline = bench.target->next_deadline();
      bench.bell.listen();
      bench.now += static_cast<nbdgw::proto::Micros>(below(kSecond));
      bool by_session = false;
      const std::uint64_t what = below(14);
      CAPTURE(what);
      const std::uint64_t at = below(16) * 2048;
      switch (what) {
        case 0:
        case 1:
          open.push_back(bench.write(at, 4096, static_cast<std::uint8_t>(step)));
          break;
        case 2:
          open.push_back(bench.read(at, 4096));
          break;
        case 3:
          open.push_back(bench.zero(at, 8192));
          break;
        case 4:
          open.push_back(bench.trim(at, 8192));
          break;
        case 5:
          open.push_back(bench.flush());
          break;
        case 6:
        case 7:
          by_session = true;  // the session hands back a command in its own deliver(), and then comes ours
          if (!bench.lun.waiting.empty()) bench.lun.complete(below(bench.lun.waiting.size()), bench.now);
          break;
        case 8:
          by_session = true;
          if (below(4) == 0) bench.lose_session();
          break;
        case 9:
          if (bench.target->state() == ExportState::offline) bench.target->on_session_up(0, bench.now);
          break;
        case 10:
          if (bench.target->next_deadline() <= bench.now) bench.target->on_deadline(bench.now);
          break;
        case 11:
          bench.target->on_unit_event("at random", bench.now);
          break;
        case 12:
          bench.target->poll_capacity(bench.now);
          break;
        default:
          bench.target->rescan(static_cast<std::uint32_t>(step + 1), bench.now);
          break;
      }
      if (!bench.bell.rung() && !by_session) {
        REQUIRE((wanted || !bench.target->wants_turn()));
        REQUIRE(bench.target->next_deadline() >= deadline);
      }
      if (by_session && bench.target->wants_turn()) bench.bell.ring();
      if (below(2) == 0) {
        bench.bell.ring();
        bench.deliver();
        bench.events();
      }
    }
    bench.bell.ring();
    if (bench.target->state() == ExportState::offline) bench.target->on_session_up(0, bench.now);
    for (int i = 0; i < 5; ++i) bench.run();
  }
}
