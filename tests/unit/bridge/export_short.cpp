#include <algorithm>

#include <doctest/doctest.h>

#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

/// Commands that end well and have moved less than they should.
using nbdgw::device::kDefaultRetries;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::Opcode;

namespace {

constexpr std::uint8_t kStale = 0xee;  // another client's data, left in the pool
constexpr std::uint32_t kBlock = 512;
constexpr std::uint32_t kLength = 64 * 1024;

/// A disk of ones and twos behind a pool that is full of another client's data.
void make_stale(Bench& bench) {
  std::fill(bench.arena.begin(), bench.arena.end(), std::byte{kStale});
  for (std::size_t i = 0; i < bench.lun.disk.size(); ++i) {
    bench.lun.disk[i] = static_cast<std::uint8_t>(1 + i / 512 % 2);
  }
  bench.connect();
}

std::vector<std::uint8_t> on_disk(const Bench& bench, std::uint64_t offset, std::size_t length) {
  const auto at = bench.lun.disk.begin() + static_cast<std::ptrdiff_t>(offset);
  return {at, at + static_cast<std::ptrdiff_t>(length)};
}
bool stale(const std::vector<std::uint8_t>& bytes) {
  return std::find(bytes.begin(), bytes.end(), kStale) != bytes.end();
}
/// Lets retries that wait have their turn.
void wait(Bench& bench) {
  while (bench.lun.waiting.empty() && bench.target->next_deadline() != nbdgw::proto::kNever) {
    bench.now = bench.target->next_deadline();
    bench.target->on_deadline(bench.now);
  }
}

/// Shortfalls of a command of `length` bytes, and whether what has moved need not be moved again.
struct Case {
  FakeLun::Shortfall shortfall;
  bool plain;
};
std::vector<Case> cases(std::uint32_t length) {
  std::vector<Case> all;
  for (const bool recovered : {false, true}) {
    for (const std::uint32_t moved : {0U, 1U, kBlock, 1000U, length / 2, length - kBlock, length - 1}) {
      const bool whole = moved > 0 && moved % kBlock == 0;
      all.push_back({{moved, 0, recovered}, false});
      all.push_back({{moved, length - moved, recovered}, whole});
      all.push_back({{moved, length - moved + kBlock, recovered}, false});  // does not fit what came
    }
    all.push_back({{length, kBlock, recovered}, false});  // all came, and it says that some did not
  }
  return all;
}

}  // namespace

TEST_CASE("short: no byte of the pool passes as read, and what is missing is read again") {
  for (const Case& each : cases(kLength)) {
    CAPTURE(each.shortfall.moved);
    CAPTURE(each.shortfall.residual);
    CAPTURE(each.shortfall.recovered);
    if (each.shortfall.residual > kLength) continue;  // the session does not let that through
    Bench bench;
    make_stale(bench);
    Reply* const reply = bench.read(kBlock, kLength);
    REQUIRE(bench.lun.waiting.size() == 1);
    bench.lun.complete_partly(0, each.shortfall, bench.now);
    bench.deliver();
    CHECK_FALSE(reply->finished);
    CHECK(reply->bytes == 0);
    CHECK(bench.target->counters().short_transfers == 1);
    REQUIRE(bench.lun.waiting.size() == 1);
    const std::uint32_t done = each.plain ? each.shortfall.moved : 0;
    CHECK(FakeLun::lba(*bench.lun.waiting[0]) == 1 + done / kBlock);
    CHECK(bench.lun.waiting[0]->data_length == kLength - done);
    bench.run();
    REQUIRE(reply->finished);
    CHECK(reply->error == Error::none);
    CHECK(reply->data == on_disk(bench, kBlock, kLength));
    CHECK_FALSE(stale(reply->data));
    bench.check_idle();
  }
}

TEST_CASE("short: nothing passes as written that the target did not take") {
  for (const Case& each : cases(kLength)) {
    CAPTURE(each.shortfall.moved);
    CAPTURE(each.shortfall.residual);
    if (each.shortfall.residual > kLength) continue;
    Bench bench;
    make_stale(bench);
    Reply* const reply = bench.write(kBlock, kLength, 0x77);
    bench.lun.complete_partly(0, each.shortfall, bench.now);
    bench.deliver();
    CHECK_FALSE(reply->finished);
    REQUIRE(bench.lun.waiting.size() == 1);
    // More may have been sent than was taken: immediate data goes unasked.
    const std::uint32_t told = kLength - each.shortfall.residual;
    const bool plain = each.shortfall.residual > 0 && each.shortfall.moved >= told && told % kBlock == 0;
    const std::uint32_t done = plain ? told : 0;
    CHECK(FakeLun::lba(*bench.lun.waiting[0]) == 1 + done / kBlock);
    bench.run();
    REQUIRE(reply->finished);
    CHECK(reply->error == Error::none);
    CHECK(on_disk(bench, kBlock, kLength) == std::vector<std::uint8_t>(kLength, 0x77));
    CHECK(bench.target->cache().unflushed() == 1);
    bench.check_idle();
  }
}

TEST_CASE("short: the pool is not written to the disk at the ends of an unaligned write") {
  Bench bench;
  make_stale(bench);
  Reply* const reply = bench.write(kBlock + 100, kBlock, 0x77);
  for (int step = 0; step < 2; ++step) {  // the first block, the last one
    REQUIRE(bench.lun.waiting.size() == 1);
    bench.lun.complete_partly(0, {.moved = step == 0 ? 0U : 100U, .residual = step == 0 ? 0 : kBlock - 100},
                              bench.now);
    REQUIRE(bench.lun.waiting.size() == 1);
    bench.lun.complete(0, bench.now);
  }
  bench.run();
  REQUIRE(reply->finished);
  CHECK(reply->error == Error::none);
  CHECK_FALSE(stale(bench.lun.disk));
  CHECK(on_disk(bench, kBlock, 100) == std::vector<std::uint8_t>(100, 2));
  bench.check_idle();
}

TEST_CASE("short: a LUN that never moves all ends in an error, and others go on meanwhile") {
  for (const bool write : {false, true}) {
    for (const bool recovered : {false, true}) {
      Bench bench;
      make_stale(bench);
      Reply* const reply = write ? bench.write(0, kLength, 0x77) : bench.read(0, kLength);
      int sent = 0;
      while (!reply->finished) {
        REQUIRE(bench.lun.waiting.size() == 1);
        ++sent;
        bench.lun.complete_partly(0, {.recovered = recovered}, bench.now);
        Reply* const other = bench.read(1024 * 1024, kBlock);
        bench.lun.complete(bench.lun.waiting.size() - 1, bench.now);
        bench.deliver();
        CHECK(other->error == Error::none);
        CHECK(other->data.size() == kBlock);
        wait(bench);
        bench.deliver();
      }
      CHECK(sent == kDefaultRetries + 1);
      CHECK(reply->error == Error::eio);
      CHECK(reply->text == "the target moves less data than it should");
      CHECK(reply->bytes == 0);
      bench.check_idle();
    }
  }
}

TEST_CASE("short: an UNMAP or WRITE SAME whose data nobody asked for has done nothing") {
  for (const bool trim : {true, false}) {
    Bench bench({.blocks = 4096, .write_cache = false});
    make_stale(bench);
    Reply* const reply = trim ? bench.trim(0, kLength) : bench.zero(0, kLength);
    REQUIRE(bench.lun.waiting.size() == 1);
    bench.lun.complete_partly(0, {}, bench.now);
    bench.deliver();
    CHECK_FALSE(reply->finished);
    bench.run();
    CHECK(reply->error == Error::none);
    CHECK(on_disk(bench, 0, kLength) == std::vector<std::uint8_t>(kLength, 0));

    Reply* const never = trim ? bench.trim(0, kLength) : bench.zero(0, kLength);
    for (int i = 0; i <= kDefaultRetries; ++i) {
      REQUIRE(bench.lun.waiting.size() == 1);
      bench.lun.complete_partly(0, {}, bench.now);
      bench.deliver();
      if (i < kDefaultRetries) wait(bench);
    }
    CHECK(never->finished);
    CHECK(never->error == Error::eio);
    bench.check_idle();
  }
}

TEST_CASE("short: a LUN that moves a block at a time is slow, and no request fails for it") {
  for (const auto ask : {+[](Bench& bench) { return bench.read(0, kLength); },
                         +[](Bench& bench) { return bench.write(0, kLength, 0x77); },
                         +[](Bench& bench) { return bench.zero(0, kLength); }}) {
    Bench bench({.lbpws = false, .write_same = false});
    make_stale(bench);
    Reply* const reply = ask(bench);
    std::uint32_t sent = 0;
    for (; !reply->finished; ++sent) {
      REQUIRE(bench.lun.waiting.size() == 1);
      const std::uint32_t wanted = bench.lun.waiting[0]->data_length;
      if (wanted == kBlock) {
        bench.lun.complete(0, bench.now);
      } else {
        bench.lun.complete_partly(0, {.moved = kBlock, .residual = wanted - kBlock}, bench.now);
      }
      bench.deliver();
    }
    CHECK(sent >= kLength / kBlock);  // WRITE SAME is tried first
    CHECK(reply->error == Error::none);
    CHECK_FALSE(stale(bench.lun.disk));
    bench.check_idle();
  }
}
