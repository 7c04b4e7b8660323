// What a client has sent can be had back for as long as nothing of it is done.
#include <algorithm>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

using nbdgw::proto::nbd::Command;

namespace {

std::vector<std::uint8_t> pattern(std::size_t length) {
  std::vector<std::uint8_t> data(length);
  for (std::size_t i = 0; i < length; ++i) data[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  return data;
}

std::vector<std::uint8_t> payload_of(const Bench& bench, const Reply& reply) {
  std::vector<std::uint8_t> found;
  CHECK(bench.target->has_payload(*reply.request));
  bench.target->copy_payload(*reply.request, found);
  return found;
}

}  // namespace

TEST_CASE("payload: of a WRITE in every state, whole blocks or not") {
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{100}}) {
    CAPTURE(offset);
    Bench bench({.blocks = 65536}, {}, 16 << 20);
    bench.connect();
    const auto data = pattern((2 << 20) + 77);
    Reply* const begun = bench.admit(Command::write, offset, static_cast<std::uint32_t>(data.size()));
    REQUIRE(begun != nullptr);
    CHECK(payload_of(bench, *begun).empty());
    auto* const first = bench.fill(*begun, data);
    const auto there = payload_of(bench, *begun);
    CHECK(there.size() == first->length);
    CHECK(std::equal(there.begin(), there.end(), data.begin()));

    Reply* const running = bench.write(32 << 20 >> 1, data);
    CHECK(payload_of(bench, *running) == data);
    bench.lose_session();  // held
    CHECK(payload_of(bench, *running) == data);

    bench.received(*begun, *first);
    bench.abandon(*begun);
    bench.reconnect();
    bench.run();
    CHECK(running->finished);
    bench.check_idle();
  }
}

TEST_CASE("payload: a part that is over is gone, and nothing passes for the whole") {
  Bench bench({.blocks = 65536}, {}, 16 << 20);
  bench.connect();
  const auto data = pattern(3 << 20);
  for (const std::size_t over : {0, 1, 2}) {
    CAPTURE(over);
    Reply* const write = bench.write(0, data);
    REQUIRE(bench.lun.waiting.size() == 3);
    bench.lun.complete(over, bench.now);
    bench.deliver();
    CHECK_FALSE(bench.target->has_payload(*write->request));
    bench.run();
    CHECK(write->finished);
  }
  bench.check_idle();
}
