#include "gateway/iscsi_target/volatile_medium.hpp"

#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/iscsi_target/memory_medium.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw::iscsi_target;

namespace {

constexpr std::size_t kSize = 1024 * 1024 + 512;  // the last block of 4096 is a short one

std::vector<std::byte> content(Medium& medium) {
  std::vector<std::byte> bytes(kSize);
  const iovec to{bytes.data(), bytes.size()};
  REQUIRE(medium.read(0, {&to, 1}) == MediumResult::ok);
  return bytes;
}

void fill(Medium& medium, std::uint64_t offset, std::size_t length, int value) {
  std::vector<std::byte> bytes(length, static_cast<std::byte>(value));
  const iovec from[] = {{bytes.data(), length / 2}, {bytes.data() + length / 2, length - length / 2}};
  REQUIRE(medium.write(offset, from) == MediumResult::ok);
}

}  // namespace

TEST_CASE("volatile medium: against two flat copies, what there is and what is stable") {
  auto random = nbdgw::test::seeded_random();
  MemoryMedium below(kSize);
  VolatileMedium medium(below);
  std::vector<std::byte> now(kSize), stable(kSize);
  int losses = 0;
  for (int step = 0; step < 4000; ++step) {
    const std::uint64_t offset = random() % (kSize / 512) * 512;
    const std::uint64_t most = std::min<std::uint64_t>(kSize - offset, random() % 8 == 0 ? 200'000 : 6000);
    const std::uint64_t length = 512 * (1 + random() % (most / 512));
    const auto at = [&](std::vector<std::byte>& copy) { return copy.begin() + static_cast<long>(offset); };
    const auto end = static_cast<long>(length);
    switch (random() % 16) {
      case 0:
        CHECK(medium.flush() == MediumResult::ok);
        stable = now;
        CHECK(medium.remembered() == 0);
        break;
      case 1:
      case 2:
        CHECK(medium.flush_range(offset, length) == MediumResult::ok);
        std::copy(at(now), at(now) + end, at(stable));
        break;
      case 3:
        CHECK(medium.discard(offset, length) == MediumResult::ok);
        std::fill(at(now), at(now) + end, std::byte{0});
        break;
      case 4:
        CHECK(medium.write_zeroes(offset, length) == MediumResult::ok);
        std::fill(at(now), at(now) + end, std::byte{0});
        break;
      case 5:
        medium.lose_unflushed();
        now = stable;
        ++losses;
        CHECK(medium.remembered() == 0);
        break;
      default:
        fill(medium, offset, length, 1 + step % 255);
        std::fill(at(now), at(now) + end, static_cast<std::byte>(1 + step % 255));
    }
    REQUIRE(content(medium) == now);
  }
  CHECK(losses > 100);
}

TEST_CASE("volatile medium: beyond its room the oldest counts as flushed") {
  constexpr std::size_t kBlock = VolatileMedium::kBlock;
  MemoryMedium below(kSize);
  VolatileMedium medium(below, 4 * kBlock);
  for (std::uint64_t block = 0; block < 6; ++block) fill(medium, block * kBlock, kBlock, 1);
  CHECK(medium.remembered() == 4);
  medium.lose_unflushed();
  for (std::uint64_t block = 0; block < 6; ++block)
    CHECK(content(medium)[block * kBlock] == std::byte(block < 2 ? 1 : 0));

  // One write that is larger than the room: of its last part what was there is remembered.
  fill(medium, 0, 10 * kBlock, 2);
  CHECK(medium.remembered() == 4);
  medium.lose_unflushed();
  for (std::uint64_t block = 0; block < 10; ++block)
    CHECK(content(medium)[block * kBlock] == std::byte(block < 6 ? 2 : 0));
}

TEST_CASE("volatile medium: zeroes over nothing need no room; what was a hole is one again") {
  MemoryMedium below(64 * 1024 * 1024);
  VolatileMedium medium(below);
  CHECK(medium.discard(0, below.size()) == MediumResult::ok);
  CHECK(medium.remembered() == 0);
  fill(medium, 0, MemoryMedium::kPageSize, 1);
  CHECK(medium.remembered() == MemoryMedium::kPageSize / VolatileMedium::kBlock);
  medium.lose_unflushed();
  CHECK(content(medium)[0] == std::byte{0});
}
