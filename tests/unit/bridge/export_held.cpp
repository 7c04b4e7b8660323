// Requests whose tasks the session holds after a loss, because nothing proves that the target will not run them any more.
#include <doctest/doctest.h>

#include "bench.hpp"

using nbdgw::bridge::ExportState;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;

namespace {

constexpr nbdgw::proto::Micros kHold = 20 * kSecond;

struct Held : Bench {
  explicit Held(nbdgw::proto::Micros hold_timeout = kHold) : Bench({}, {.hold_timeout = hold_timeout}) { connect(); }

  void lose() {
    lun.disrupt_and_hold(now);
    target->on_session_down("the other controller", now);
    deliver();
  }
  void advance(nbdgw::proto::Micros length) {
    const auto end = now + length;
    deliver();
    for (int steps = 0; target->next_deadline() <= end; ++steps) {
      REQUIRE(steps < 1000);  // a deadline that stays due would spin
      now = std::max(now, target->next_deadline());
      target->on_deadline(now);
      deliver();
    }
    now = end;
  }
  void hand_back_all() {
    while (!lun.held.empty()) lun.later(0, now);
    deliver();
  }
};

}  // namespace

TEST_CASE("held: a write comes back with its proof, and is sent again") {
  Held bench;
  Reply* const write = bench.write(0, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lose();
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

TEST_CASE("held: it comes back before the LUN was looked at, and waits for that") {
  Held bench;
  Reply* const write = bench.write(0, 512, 1);
  bench.lose();
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
    Held bench;
    Reply* const write = bench.write(0, 4096, 1);
    bench.lose();
    const auto used = bench.pool.used();
    CHECK(used > 0);
    if (path_is_back) bench.connect();  // of the other controller: the write is held all the same
    bench.advance(kHold - kSecond);
    CHECK_FALSE(write->finished);
    bench.advance(2 * kSecond);
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
    bench.hand_back_all();
    bench.run();
    CHECK(behind->error == Error::none);
    CHECK(bench.lun.disk[512] == 3);
    CHECK(bench.lun.disk[0] == 0);  // nobody wants the old one any more
    bench.check_idle();
  }
}

TEST_CASE("held: what waits behind it has a hold timeout of its own") {
  Held bench;
  Reply* const first = bench.write(0, 1024, 1);
  bench.lose();
  bench.connect();
  bench.advance(10 * kSecond);
  Reply* const second = bench.write(512, 1024, 2);
  Reply* const third = bench.write(1024, 1024, 3);  // behind the second only
  Reply* const apart = bench.write(8192, 512, 4);
  bench.run();
  CHECK(apart->error == Error::none);
  bench.advance(11 * kSecond);
  CHECK(first->error == Error::eio);
  CHECK_FALSE(second->finished);
  CHECK_FALSE(third->finished);
  bench.advance(10 * kSecond);
  CHECK(second->finished);
  CHECK(second->error == Error::eio);
  // It came at the same time, so it is over at the same time.
  CHECK(third->finished);
  Reply* const fourth = bench.write(0, 512, 5);
  bench.hand_back_all();
  bench.run();
  CHECK(fourth->error == Error::none);
  CHECK(bench.lun.disk[0] == 5);
  bench.check_idle();
}

TEST_CASE("held: while there is no path at all, what comes behind it fails like everything else") {
  Held bench;
  Reply* const first = bench.write(0, 1024, 1);
  bench.lose();
  bench.advance(kHold + kSecond);
  CHECK(first->error == Error::eio);
  Reply* const behind = bench.write(0, 512, 2);
  Reply* const apart = bench.write(8192, 512, 3);
  bench.advance(1);
  CHECK(apart->finished);
  CHECK(behind->finished);
  CHECK(behind->error == Error::eio);
  bench.hand_back_all();
  bench.check_idle();
}

TEST_CASE("held: the client goes away, before the answer, or between the answer and its release") {
  for (const int when : {0, 1, 2}) {
    CAPTURE(when);
    Held bench;
    Reply* const write = bench.write(0, 4096, 1);
    bench.lose();
    bench.connect();
    bench.release_at_once = false;
    if (when == 0) bench.abandon(*write);
    bench.advance(kHold + kSecond);
    CHECK(write->finished == (when != 0));
    if (when == 1) bench.abandon(*write);
    if (when == 2) {
      bench.hand_back_all();  // the proof comes first
      CHECK(bench.target->in_flight() == 1);
      bench.target->release(*write->request);
    }
    bench.hand_back_all();
    bench.check_idle();
    CHECK(bench.lun.waiting.empty());
  }
}

TEST_CASE("held: some of a request's payload is still to come when the time is over") {
  Held bench;
  const std::vector<std::uint8_t> data(2 * 1024 * 1024, 7);
  Reply* const write = bench.admit(Command::write, 0, static_cast<std::uint32_t>(data.size()));
  REQUIRE(write != nullptr);
  auto* first = bench.fill(*write, data);
  bench.received(*write, *first);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lose();
  bench.advance(kHold + kSecond);
  CHECK_FALSE(write->finished);  // the protocol has no way to answer before that
  while (write->request != nullptr && !write->finished) {
    auto* next = bench.target->next_write_segment(*write->request);
    bench.received(*write, *next);
    bench.deliver();
  }
  CHECK(write->error == Error::eio);
  bench.hand_back_all();
  bench.check_idle();
}

TEST_CASE("held: TRIM and WRITE_ZEROES are held, reads and flushes are not") {
  Held bench;
  Reply* const trim = bench.trim(0, 8 * 512);
  Reply* const zero = bench.zero(16384, 8 * 512);
  Reply* const read = bench.read(32768, 512);
  Reply* const flush = bench.flush();
  bench.deliver();
  REQUIRE(bench.lun.waiting.size() == 4);
  bench.lose();
  CHECK(bench.lun.held.size() == 2);
  bench.connect();
  CHECK(read->error == Error::none);
  CHECK(read->finished);
  CHECK(flush->finished);
  CHECK_FALSE(trim->finished);
  bench.advance(kHold + kSecond);
  for (const Reply* reply : {trim, zero}) {
    CHECK(reply->finished);
    CHECK(reply->error == Error::eio);
  }
  bench.hand_back_all();
  bench.check_idle();
}

TEST_CASE("held: where requests are held for as long as it takes, nobody is answered early") {
  Held bench(nbdgw::proto::kNever);
  Reply* const write = bench.write(0, 512, 1);
  bench.lose();
  bench.connect();
  Reply* const behind = bench.write(0, 512, 2);
  bench.advance(3600 * kSecond);
  CHECK_FALSE(write->finished);
  CHECK_FALSE(behind->finished);
  bench.hand_back_all();
  bench.run();
  CHECK(write->error == Error::none);
  CHECK(behind->error == Error::none);
  CHECK(bench.lun.disk[0] == 2);
  bench.check_idle();
}

TEST_CASE("held: the end of the session hands everything back") {
  Held bench;
  Reply* const write = bench.write(0, 512, 1);
  bench.lose();
  bench.connect();
  bench.advance(kHold + kSecond);
  CHECK(write->error == Error::eio);
  bench.lun.lose_path(bench.now);
  bench.deliver();
  bench.check_idle();
}
