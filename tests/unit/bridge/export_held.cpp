// Requests whose commands the session holds after a loss, because nothing proves that the target will not run them
// any more.
#include <algorithm>

#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::ExportState;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;

namespace {

constexpr nbdgw::proto::Micros kHold = 20 * kSecond;

ExportConfig with_hold(nbdgw::proto::Micros hold_timeout = kHold) {
  ExportConfig config;
  config.hold_timeout = hold_timeout;
  return config;
}

void lose(Bench& bench) {
  bench.lun.disrupt_and_hold(bench.now);
  bench.target->on_session_down("the other controller", bench.now);
  bench.deliver();
}

void advance(Bench& bench, nbdgw::proto::Micros length) {
  const auto end = bench.now + length;
  bench.deliver();
  for (int steps = 0; bench.target->next_deadline() <= end; ++steps) {
    REQUIRE(steps < 1000);  // a deadline that stays due would spin
    bench.now = std::max(bench.now, bench.target->next_deadline());
    bench.target->on_deadline(bench.now);
    bench.deliver();
  }
  bench.now = end;
}

void hand_back_all(Bench& bench) {
  while (!bench.lun.held.empty()) bench.lun.later(0, bench.now);
  bench.deliver();
}

}  // namespace

TEST_CASE("held: a write comes back with its proof, and is sent again") {
  Bench bench({}, with_hold());
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 1);
  lose(bench);
  CHECK(bench.target->state() == ExportState::offline);
  bench.connect();
  CHECK_FALSE(write->finished);
  CHECK(bench.lun.waiting.empty());
  bench.lun.later(0, bench.now);
  CHECK(bench.target->state() == ExportState::online);  // that is no news of a loss
  bench.run();
  CHECK(write->error == Error::none);
  CHECK(bench.lun.disk[0] == 1);
  bench.check_idle();
}

TEST_CASE("held: as many as the queue is deep, through several losses, keep nobody else back") {
  ExportConfig config = with_hold(nbdgw::proto::kNever);
  config.queue_depth = 2;
  Bench bench({}, config);
  bench.connect();
  bench.write(0, 512, 1);
  bench.write(4096, 512, 1);
  for (int i = 0; i < 3; ++i) {
    Reply* const read = bench.read(8192, 512);
    lose(bench);
    bench.connect();
    bench.run();
    CHECK(read->error == Error::none);
  }
  Reply* const read = bench.read(8192, 512);
  for (int i = 0; i < 3; ++i) {
    lose(bench);
    bench.connect();
  }
  bench.run();
  CHECK(read->finished);
  CHECK(read->error == Error::none);
  CHECK(bench.lun.held.size() == 2);
  hand_back_all(bench);
  bench.run();
  for (const auto& reply : bench.replies) CHECK(reply->error == Error::none);
  bench.check_idle();
}

TEST_CASE("held: it comes back before the LUN was looked at, and waits for that") {
  Bench bench({}, with_hold());
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  lose(bench);
  bench.target->on_session_up(0, bench.now);
  REQUIRE(bench.lun.waiting.size() == 1);  // the probe
  bench.lun.later(0, bench.now);
  CHECK(bench.target->state() == ExportState::probing);
  CHECK(bench.lun.waiting.size() == 1);
  bench.run();
  CHECK(write->error == Error::none);
  bench.check_idle();
}

TEST_CASE("held: after the hold timeout the client is answered, once; the fence and the memory wait for the proof") {
  for (const bool path_is_back : {false, true}) {
    CAPTURE(path_is_back);
    Bench bench({}, with_hold());
    bench.connect();
    Reply* const write = bench.write(0, 4096, 1);
    lose(bench);
    const auto used = bench.pool.used();
    CHECK(used > 0);
    if (path_is_back) bench.connect();  // of the other controller: the write is held all the same
    advance(bench, kHold - kSecond);
    CHECK_FALSE(write->finished);
    advance(bench, 2 * kSecond);
    CHECK(write->finished);
    CHECK(write->error == Error::eio);
    CHECK(write->request == nullptr);  // released
    CHECK(bench.pool.used() == used);
    CHECK_FALSE(bench.target->idle());
    if (!path_is_back) bench.connect();
    Reply* const elsewhere = bench.write(8192, 512, 2);
    bench.run();
    CHECK(elsewhere->error == Error::none);
    Reply* const behind = bench.write(512, 512, 3);
    bench.run();
    CHECK_FALSE(behind->finished);
    hand_back_all(bench);
    bench.run();
    CHECK(behind->error == Error::none);
    CHECK(bench.lun.disk[512] == 3);
    CHECK(bench.lun.disk[0] == 0);  // nobody wants the old one any more
    bench.check_idle();
  }
}

TEST_CASE("held: what waits behind it has a hold timeout of its own") {
  Bench bench({}, with_hold());
  bench.connect();
  Reply* const first = bench.write(0, 1024, 1);
  lose(bench);
  bench.connect();
  advance(bench, 10 * kSecond);
  Reply* const second = bench.write(512, 1024, 2);
  Reply* const third = bench.write(1024, 1024, 3);  // behind the second only
  Reply* const apart = bench.write(8192, 512, 4);
  bench.run();
  CHECK(apart->error == Error::none);
  advance(bench, 11 * kSecond);
  CHECK(first->error == Error::eio);
  CHECK_FALSE(second->finished);
  CHECK_FALSE(third->finished);
  advance(bench, 10 * kSecond);
  CHECK(second->finished);
  CHECK(second->error == Error::eio);
  // Nothing is in its way any more.
  bench.run();
  CHECK(third->error == Error::none);
  CHECK(bench.lun.disk[1024] == 3);
  Reply* const fourth = bench.write(0, 512, 5);
  hand_back_all(bench);
  bench.run();
  CHECK(fourth->error == Error::none);
  CHECK(bench.lun.disk[0] == 5);
  bench.check_idle();
}

TEST_CASE("held: while there is no path at all, what comes behind it fails like everything else") {
  Bench bench({}, with_hold());
  bench.connect();
  Reply* const first = bench.write(0, 1024, 1);
  lose(bench);
  advance(bench, kHold + kSecond);
  CHECK(first->error == Error::eio);
  Reply* const behind = bench.write(0, 512, 2);
  Reply* const apart = bench.write(8192, 512, 3);
  advance(bench, 1);
  CHECK(apart->finished);
  CHECK(behind->finished);
  CHECK(behind->error == Error::eio);
  hand_back_all(bench);
  bench.check_idle();
}

TEST_CASE("held: the client goes away, before the answer, or between the answer and its release") {
  for (const int when : {0, 1, 2}) {
    CAPTURE(when);
    Bench bench({}, with_hold());
    bench.connect();
    Reply* const write = bench.write(0, 4096, 1);
    lose(bench);
    bench.connect();
    bench.release_at_once = false;
    if (when == 0) bench.abandon(*write);
    advance(bench, kHold + kSecond);
    CHECK(write->finished == (when != 0));
    if (when == 1) bench.abandon(*write);
    if (when == 2) {
      hand_back_all(bench);  // the proof comes first
      CHECK(bench.target->in_flight() == 1);
      bench.target->release(*write->request);
    }
    hand_back_all(bench);
    bench.check_idle();
    CHECK(bench.lun.waiting.empty());
  }
}

TEST_CASE("held: a write is answered when the time is over, whatever of its payload is still to come") {
  Bench bench({}, with_hold());
  bench.connect();
  const std::vector<std::uint8_t> data(2 * 1024 * 1024, 7);
  Reply* const write = bench.admit(Command::write, 0, static_cast<std::uint32_t>(data.size()));
  REQUIRE(write != nullptr);
  auto* first = bench.fill(*write, data);
  bench.received(*write, *first);
  REQUIRE(bench.lun.waiting.size() == 1);
  lose(bench);
  advance(bench, kHold + kSecond);
  CHECK(write->finished);  // the protocol engine drops the rest first
  CHECK(write->error == Error::eio);
  hand_back_all(bench);
  bench.check_idle();
}

TEST_CASE("held: TRIM and WRITE_ZEROES are held, reads and flushes are not") {
  Bench bench({}, with_hold());
  bench.connect();
  Reply* const trim = bench.trim(0, 8 * 512);
  Reply* const zero = bench.zero(16384, 8 * 512);
  Reply* const read = bench.read(32768, 512);
  Reply* const flush = bench.flush();
  bench.deliver();
  REQUIRE(bench.lun.waiting.size() == 4);
  lose(bench);
  CHECK(bench.lun.held.size() == 2);
  bench.connect();
  CHECK(read->error == Error::none);
  CHECK(read->finished);
  CHECK(flush->finished);
  CHECK_FALSE(trim->finished);
  advance(bench, kHold + kSecond);
  for (const Reply* reply : {trim, zero}) {
    CHECK(reply->finished);
    CHECK(reply->error == Error::eio);
  }
  hand_back_all(bench);
  bench.check_idle();
}

TEST_CASE("held: where requests are held for as long as it takes, nobody is answered early") {
  Bench bench({}, with_hold(nbdgw::proto::kNever));
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  lose(bench);
  bench.connect();
  Reply* const behind = bench.write(0, 512, 2);
  advance(bench, 3600 * kSecond);
  CHECK_FALSE(write->finished);
  CHECK_FALSE(behind->finished);
  hand_back_all(bench);
  bench.run();
  CHECK(write->error == Error::none);
  CHECK(behind->error == Error::none);
  CHECK(bench.lun.disk[0] == 2);
  bench.check_idle();
}

TEST_CASE("held: the end of the session hands everything back") {
  Bench bench({}, with_hold());
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  lose(bench);
  bench.connect();
  advance(bench, kHold + kSecond);
  CHECK(write->error == Error::eio);
  bench.lun.lose_path(bench.now);
  bench.deliver();
  bench.check_idle();
}
