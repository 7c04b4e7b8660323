#include "gateway/device/facts.hpp"

#include <random>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using namespace nbdgw::device;

namespace {

Facts disk(std::uint32_t block_length) {
  Facts facts;
  facts.block_length = block_length;
  facts.blocks = (1ULL << 40) / block_length;
  return facts;
}

Facts thin_disk() {
  Facts facts = disk(512);
  facts.lbpme = facts.lbpu = facts.lbpws = facts.lbprz = true;
  facts.max_unmap_lba_count = 0xffffffff;
  facts.max_unmap_descriptors = 1;
  return facts;
}

}  // namespace

TEST_CASE("facts: blocks of a READ or WRITE") {
  Facts facts = disk(512);
  CHECK(max_transfer_blocks(facts) == 2048);
  facts.max_transfer = 100;
  CHECK(max_transfer_blocks(facts) == 100);
  facts.max_transfer = 0xffffffff;
  CHECK(max_transfer_blocks(facts) == 2048);
  CHECK(max_transfer_blocks(disk(4096)) == 256);
  CHECK(max_transfer_blocks(disk(64 * 1024)) == 16);
}

TEST_CASE("facts: UNMAP") {
  Facts facts = thin_disk();
  CHECK(can_unmap(facts));
  CHECK(max_unmap_blocks(facts) == 2 * 1024 * 1024);  // our own 1 GiB
  facts.max_unmap_lba_count = 1000;
  CHECK(max_unmap_blocks(facts) == 1000);
  facts.unmap_granularity = 64;
  CHECK(max_unmap_blocks(facts) == 960);
  facts.unmap_granularity = 4096;  // larger than what one command may do
  CHECK(max_unmap_blocks(facts) == 1000);
  for (int missing = 0; missing < 4; ++missing) {
    Facts without = thin_disk();
    if (missing == 0) without.lbpme = false;
    if (missing == 1) without.lbpu = false;
    if (missing == 2) without.max_unmap_lba_count = 0;
    if (missing == 3) without.max_unmap_descriptors = 0;
    CHECK(!can_unmap(without));
    CHECK(max_unmap_blocks(without) == 0);
  }
}

TEST_CASE("facts: WRITE SAME") {
  Facts facts = thin_disk();
  CHECK(max_write_same_blocks(facts) == 65535);  // not told: never the 65536 that some take for 0
  facts.physical_block_length = 4096;
  CHECK(max_write_same_blocks(facts) == 65528);
  CHECK(max_write_same_blocks(disk(4096)) == 8192);  // our own 32 MiB
  facts.max_write_same = 100;
  CHECK(max_write_same_blocks(facts) == 100);
  facts.max_write_same = 1ULL << 40;
  CHECK(max_write_same_blocks(facts) == 65536);
  CHECK(can_write_same_unmap(facts));
  for (int missing = 0; missing < 4; ++missing) {
    Facts without = thin_disk();
    if (missing == 0) without.lbpme = false;
    if (missing == 1) without.lbpws = false;
    if (missing == 2) without.lbprz = false;
    if (missing == 3) without.write_same = false;
    CHECK(!can_write_same_unmap(without));
  }
  facts.write_same = false;
  CHECK(max_write_same_blocks(facts) == 0);
}

TEST_CASE("facts: whole granules") {
  Facts facts = thin_disk();
  CHECK(whole_granules(facts, {5, 7}) == BlockRange{5, 7});
  facts.unmap_granularity = 8;
  CHECK(whole_granules(facts, {0, 16}) == BlockRange{0, 16});
  CHECK(whole_granules(facts, {1, 16}) == BlockRange{8, 8});
  CHECK(whole_granules(facts, {8, 7}).blocks == 0);
  CHECK(whole_granules(facts, {9, 14}).blocks == 0);
  facts.unmap_alignment = 3;
  CHECK(whole_granules(facts, {0, 16}) == BlockRange{3, 8});
  CHECK(whole_granules(facts, {0, 2}).blocks == 0);
  CHECK(whole_granules(facts, {3, 8}) == BlockRange{3, 8});
  CHECK(whole_granules(facts, {11, 8}) == BlockRange{11, 8});
}

TEST_CASE("facts: whole granules, against counting block by block") {
  std::mt19937_64 random = nbdgw::test::seeded_random();
  Facts facts = thin_disk();
  for (int round = 0; round < 20'000; ++round) {
    facts.unmap_granularity = static_cast<std::uint32_t>(1 + random() % 20);
    facts.unmap_alignment = static_cast<std::uint32_t>(random() % facts.unmap_granularity);
    const BlockRange range{random() % 100, random() % 100};
    // A granule counts if all of its blocks are inside.
    std::uint64_t first = 0;
    std::uint64_t blocks = 0;
    for (std::uint64_t at = facts.unmap_alignment; at < 300; at += facts.unmap_granularity) {
      if (at < range.lba || at + facts.unmap_granularity > range.lba + range.blocks) continue;
      if (blocks == 0) first = at;
      blocks += facts.unmap_granularity;
    }
    const BlockRange got = whole_granules(facts, range);
    CHECK(got.blocks == blocks);
    if (blocks != 0) CHECK(got.lba == first);
  }
}
