#include "gateway/bridge/split.hpp"

#include <doctest/doctest.h>

#include "gateway/bridge/abilities.hpp"
#include "gateway/bridge/limits.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw::bridge;

TEST_CASE("split: whole and touched blocks") {
  CHECK(widen(0, 1, 512).count() == 1);
  CHECK(widen(511, 2, 512).count() == 2);
  CHECK(widen(512, 512, 512).first == 1);
  CHECK(narrow(0, 511, 512).empty());
  CHECK(narrow(1, 1023, 512).count() == 1);
  CHECK(narrow(1, 10, 512).empty());
  CHECK(narrow(100, 300, 512).count() == 0);
}

TEST_CASE("split: parts cover the request once, in order, on blocks, within the limit") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 20'000; ++round) {
    const std::uint32_t block = 512U << (random() % 8);
    const std::uint32_t limit = block * (1 + static_cast<std::uint32_t>(random() % 40));
    const std::uint64_t offset = random() % (1ULL << (random() % 50 + 1));
    const std::uint64_t end = offset + 1 + random() % (20ULL * limit);
    std::uint64_t at = offset;
    std::uint64_t parts = 0;
    while (at < end) {
      const std::uint64_t next = part_end(at, end, block, limit);
      REQUIRE(next > at);
      REQUIRE(next <= end);
      REQUIRE(widen(at, next - at, block).count() * block <= limit);
      if (at != offset) REQUIRE(at % block == 0);
      // As few as possible: only the last one is shorter than it could be.
      if (next != end) REQUIRE(widen(at, next - at, block).count() * block == limit);
      at = next;
      ++parts;
    }
    REQUIRE(parts == part_count(offset, end, block, limit));
    const BlockRange inner = narrow(offset, end - offset, block);
    const BlockRange outer = widen(offset, end - offset, block);
    if (!inner.empty()) {
      REQUIRE(inner.first * block >= offset);
      REQUIRE(inner.end * block <= end);
    }
    REQUIRE(outer.first * block <= offset);
    REQUIRE(outer.end * block >= end);
    REQUIRE(outer.count() - inner.count() <= 2);
  }
}

TEST_CASE("split: what a LUN reports becomes limits within ours") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 5'000; ++round) {
    nbdgw::device::Facts facts;
    facts.block_length = 512U << (random() % 8);
    facts.blocks = 1'000'000;
    facts.max_transfer = random() % 3 == 0 ? 0 : 1 + static_cast<std::uint32_t>(random() % (1U << (random() % 32)));
    const Abilities can = abilities_of(facts, {}, 0);
    REQUIRE(can.transfer >= 1);
    REQUIRE(can.transfer * can.block <= kMaxPart);
    if (facts.max_transfer != 0) REQUIRE(can.transfer <= facts.max_transfer);
    REQUIRE(can.part >= kMinPart);
    REQUIRE(can.part <= kMaxPart);
    REQUIRE(can.part % can.block == 0);
  }
}
