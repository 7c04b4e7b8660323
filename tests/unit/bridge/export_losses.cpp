// Something that a client asks for brings the session down, again and again.
#include <algorithm>

#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using nbdgw::proto::nbd::Error;

namespace {

constexpr std::size_t kOthers = 40;

/// The READ of block 0 is what the target cannot bear. Returns how many sessions it took until all was answered.
int live_with_it(Bench& bench, Micros pause, int most) {
  int sessions = 0;
  const auto answered = [&] {
    return std::ranges::all_of(bench.replies, [](const auto& reply) { return reply->finished; });
  };
  for (; !answered() && sessions < most; ++sessions) {
    // What is ahead of it is answered; it takes what is behind it.
    while (!bench.lun.waiting.empty() && FakeLun::lba(*bench.lun.waiting.front()) != 0) {
      bench.lun.complete(0, bench.now);
      bench.deliver();
    }
    if (bench.lun.waiting.empty()) continue;
    bench.lose_session();
    bench.now += pause;
    bench.reconnect();
  }
  return sessions;
}

}  // namespace

TEST_CASE("losses: a READ at which the target drops its connections ends, and the others do not suffer for it") {
  for (const std::size_t place : {std::size_t{0}, kOthers / 2, kOthers}) {
    CAPTURE(place);
    Bench bench({.blocks = 16384}, {.queue_depth = 32});
    bench.connect();
    Reply* killer = nullptr;
    for (std::size_t i = 0; i <= kOthers; ++i) {
      Reply* const reply = bench.read(i == place ? 0 : (i + 1) * 4096, 512);
      if (i == place) killer = reply;
    }
    const int sessions = live_with_it(bench, 2 * kSecond, 100);
    CHECK(sessions < 60);
    REQUIRE(killer->finished);
    CHECK(killer->error == Error::eio);
    CHECK(killer->text == "the target does not answer the command, however often it is sent");
    for (const auto& reply : bench.replies) {
      if (reply.get() != killer) CHECK(reply->error == Error::none);
    }
    // Afterwards all is as before.
    for (int i = 0; i < 200; ++i) bench.read(4096, 512);
    bench.run();
    for (std::size_t i = 0; i < 40; ++i) bench.read((i + 1) * 4096, 512);
    CHECK(bench.lun.waiting.size() == 32);
    bench.run();
    bench.check_idle();
  }
}

TEST_CASE("losses: what goes along with such a READ is lost with it, and ends well all the same") {
  Bench bench({.blocks = 16384}, {.queue_depth = 8});
  bench.connect();
  const auto read_others = [&bench](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) bench.read(4096, 512);
  };
  read_others(3);
  Reply* const killer = bench.read(0, 512);
  read_others(20);
  for (int sessions = 0; !killer->finished; ++sessions) {
    REQUIRE(sessions < 100);
    const auto is_there = [&bench] {
      return std::ranges::any_of(bench.lun.waiting, [](const auto* each) { return FakeLun::lba(*each) == 0; });
    };
    for (int answered = 0; answered < 30 && !is_there() && !bench.lun.waiting.empty(); ++answered) {
      bench.lun.complete(0, bench.now);
      bench.deliver();
      bench.read(4096, 512);
    }
    bench.lose_session();
    bench.now += 2 * kSecond;
    bench.reconnect();
  }
  CHECK(killer->error == Error::eio);
  bench.run();
  for (const auto& reply : bench.replies) {
    if (reply.get() != killer) CHECK(reply->error == Error::none);
  }
  bench.check_idle();
}

TEST_CASE("losses: a path that comes and goes fails nothing before its time") {
  Bench bench;
  bench.connect();
  Reply* const read = bench.read(0, 512);
  const Micros begin = bench.now;
  int losses = 0;
  while (!read->finished) {
    REQUIRE(++losses < 1000);
    bench.lose_session();
    bench.now += kSecond / 10;
    bench.reconnect();
  }
  CHECK(read->error == Error::eio);
  CHECK(bench.now - begin >= nbdgw::device::kLossPatience);
  CHECK(bench.now - begin < nbdgw::device::kLossPatience + kSecond);
  bench.check_idle();
}

TEST_CASE("losses: what was not sent does not count") {
  Bench bench({}, {.queue_depth = 1});
  bench.connect();
  for (int i = 0; i < 8; ++i) bench.write(static_cast<std::uint64_t>(i) * 4096, 512, 1);
  for (int i = 0; i < 100; ++i) {
    bench.lose_session();
    bench.now += kSecond;
    bench.reconnect();
    if (i % 4 != 3 || bench.lun.waiting.empty()) continue;
    bench.lun.complete(0, bench.now);
    bench.deliver();
  }
  bench.run();
  for (const auto& reply : bench.replies) CHECK(reply->error == Error::none);
  bench.check_idle();
}

TEST_CASE("losses: a session that we end ourselves costs nobody anything, however often") {
  Bench bench;
  bench.connect();
  bench.lun.losses_are_ours = true;
  bench.read(0, 512);
  bench.write(4096, 512, 1);
  bench.write(8192, 512, 2);
  for (int i = 0; i < 100; ++i) {
    bench.lose_session();
    bench.now += kSecond;
    bench.reconnect();
    // Nor does anything go alone: there is no suspicion.
    CHECK(bench.lun.waiting.size() == 3);
  }
  bench.run();
  for (const auto& reply : bench.replies) CHECK(reply->error == Error::none);
  bench.check_idle();
}
