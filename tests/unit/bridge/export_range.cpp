#include <algorithm>

#include <doctest/doctest.h>

#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::proto::nbd::Error;
using nbdgw::proto::nbd::kCmdFlagNoHole;
namespace scsi = nbdgw::proto::scsi;

namespace {

constexpr auto kWrite16 = static_cast<std::uint8_t>(scsi::Opcode::write_16);
constexpr auto kWriteSame16 = static_cast<std::uint8_t>(scsi::Opcode::write_same_16);
constexpr auto kUnmap = static_cast<std::uint8_t>(scsi::Opcode::unmap);

std::size_t count(const Bench& bench, std::uint8_t opcode) {
  return static_cast<std::size_t>(std::count(bench.lun.log.begin(), bench.lun.log.end(), opcode));
}

void check_zeroed(const Bench& bench, std::uint64_t offset, std::uint64_t length, std::uint8_t around) {
  for (std::uint64_t i = 0; i < bench.lun.disk.size(); ++i) {
    const std::uint8_t expected = i >= offset && i < offset + length ? 0 : around;
    if (bench.lun.disk[i] == expected) continue;
    CAPTURE(i);
    REQUIRE(bench.lun.disk[i] == expected);
  }
}

/// Zeroes ranges of all kinds, and looks at every byte of the disk after each.
void zero_everywhere(Bench& bench, std::uint16_t flags) {
  const std::uint32_t b = bench.lun.options.block;
  const std::pair<std::uint64_t, std::uint32_t> ranges[] = {
      {0, b},     {0, 1},     {b - 1, 1},   {b - 1, 2},   {3, b - 6},
      {0, 8 * b}, {1, 8 * b}, {b, 300 * b}, {7, 300 * b}, {b, 2 * b + 1},
  };
  for (const auto& [offset, length] : ranges) {
    CAPTURE(offset);
    CAPTURE(length);
    std::fill(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{0xee});
    Reply* const reply = bench.zero(offset, length, flags);
    bench.run();
    REQUIRE(reply->finished);
    REQUIRE(reply->error == Error::none);
    check_zeroed(bench, offset, length, 0xee);
  }
  bench.check_idle();
}

bool unmap_bit(const FakeLun::Command& command) {
  const auto cdb = scsi::WriteSame::parse(std::span(command.cdb).first(command.cdb_length));
  return cdb && cdb->unmap;
}

}  // namespace

TEST_CASE("write zeroes: by WRITE SAME, or as zero writes") {
  for (const std::uint32_t block : {512U, 4096U}) {
    for (const bool write_same : {true, false}) {
      for (const std::uint32_t max_transfer : {0U, 5U}) {
        for (const std::uint16_t flags : {std::uint16_t{0}, kCmdFlagNoHole}) {
          CAPTURE(block);
          CAPTURE(write_same);
          CAPTURE(max_transfer);
          CAPTURE(flags);
          Bench bench({.block = block, .blocks = 512, .max_transfer = max_transfer, .write_same = write_same});
          bench.connect();
          zero_everywhere(bench, flags);
        }
      }
    }
  }
}

TEST_CASE("write zeroes: the UNMAP bit only where it is allowed and gives zeroes") {
  const auto first_has_unmap = [](LunOptions options, std::uint16_t flags) {
    Bench bench(options);
    bench.connect();
    bench.zero(0, 51200, flags);
    REQUIRE(FakeLun::opcode(*bench.lun.waiting.at(0)) == kWriteSame16);
    const bool bit = unmap_bit(*bench.lun.waiting[0]);
    bench.run();
    return bit;
  };
  CHECK(first_has_unmap({}, 0));
  CHECK_FALSE(first_has_unmap({}, kCmdFlagNoHole));
  CHECK_FALSE(first_has_unmap({.lbpws = false}, 0));
  CHECK_FALSE(first_has_unmap({.lbprz = false}, 0));
}

TEST_CASE("write zeroes: what the LUN refuses is done in another way, and remembered") {
  SUBCASE("the UNMAP bit") {
    Bench bench({.write_same_unmap_bit = false});
    bench.connect();
    zero_everywhere(bench, 0);
    CHECK(bench.target->counters().refusals > 0);
    bench.zero(0, 512);
    CHECK_FALSE(unmap_bit(*bench.lun.waiting.at(0)));
    bench.run();
  }
  SUBCASE("WRITE SAME, in the middle of a request") {
    Bench bench({.write_same = false});
    bench.connect();
    std::fill(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{0xee});
    Reply* const reply = bench.zero(0, 1'000'000);
    CHECK(bench.lun.waiting.size() == 8);
    bench.run();
    CHECK(reply->error == Error::none);
    check_zeroed(bench, 0, 1'000'000, 0xee);
    // Those that were out came back refused; what was not yet sent was not tried any more.
    CHECK(count(bench, kWriteSame16) == 8);
    bench.lun.log.clear();
    bench.zero(0, 512);
    bench.run();
    CHECK(bench.lun.log == std::vector{kWrite16});
    // A new login may have brought a new firmware.
    bench.target->on_session_down("test", bench.now);
    bench.connect();
    bench.zero(0, 512);
    CHECK(FakeLun::opcode(*bench.lun.waiting.at(0)) == kWriteSame16);
    bench.run();
    bench.check_idle();
  }
}

TEST_CASE("write zeroes: a request of almost 4 GiB does not take the whole queue") {
  LunOptions options{.block = 4096, .blocks = 8, .max_write_same = 0};
  Bench bench(options);
  // A LUN larger than this machine's memory: nothing is executed.
  bench.lun.options.blocks = 0x100000000ULL;
  bench.connect();
  Reply* const reply = bench.zero(0, 0xffffffff);
  std::uint64_t next = 0;
  std::uint64_t commands = 0;
  while (FakeLun::opcode(*bench.lun.waiting.at(0)) == kWriteSame16) {
    CHECK(bench.lun.waiting.size() <= nbdgw::bridge::kRangeCommands);
    FakeLun::Command& command = *bench.lun.waiting[0];
    REQUIRE(FakeLun::lba(command) == next);
    next += FakeLun::count(command);
    bench.lun.refuse(0, 0x00, bench.now);
    ++commands;
  }
  CHECK(next == 0xffffffff / 4096);
  CHECK(commands == 128);
  // The last block is zeroed in part: read, and written.
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lun.refuse(0, 0x00, bench.now);
  REQUIRE(bench.lun.waiting.size() == 1);
  CHECK(FakeLun::opcode(*bench.lun.waiting[0]) == kWrite16);
  CHECK(FakeLun::lba(*bench.lun.waiting[0]) == next);
  bench.lun.refuse(0, 0x00, bench.now);
  bench.deliver();
  CHECK(reply->finished);
  CHECK(reply->error == Error::none);
  bench.check_idle();
}

TEST_CASE("trim: whole granules inside the request, within the limits, and nothing else") {
  for (const std::uint32_t alignment : {0U, 3U}) {
    CAPTURE(alignment);
    Bench bench({.max_unmap = 64, .granularity = 8, .alignment = alignment});
    bench.connect();
    std::fill(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{0xee});
    Reply* const reply = bench.trim(512 * 9 + 1, 512 * 1000);
    CHECK(bench.lun.waiting.size() == nbdgw::bridge::kRangeCommands);
    bench.run();
    CHECK(reply->error == Error::none);
    const std::uint64_t first = alignment == 0 ? 16 : 11;
    const std::uint64_t end = alignment == 0 ? 1008 : 1003;
    check_zeroed(bench, first * 512, (end - first) * 512, 0xee);
    CHECK(count(bench, kUnmap) == (end - first + 63) / 64);
    bench.check_idle();
  }
}

TEST_CASE("trim: a success without effect where nothing can be unmapped") {
  const auto sends_nothing = [](LunOptions options, std::uint64_t offset, std::uint32_t length) {
    Bench bench(options);
    bench.connect();
    const std::size_t sent = bench.lun.sent;
    Reply* const reply = bench.trim(offset, length);
    bench.deliver();
    CHECK(reply->finished);
    CHECK(reply->error == Error::none);
    bench.check_idle();
    return bench.lun.sent == sent;
  };
  CHECK(sends_nothing({.lbpu = false}, 0, 40960));
  CHECK(sends_nothing({.max_unmap = 0}, 0, 40960));
  CHECK(sends_nothing({}, 512, 7 * 512));
  CHECK(sends_nothing({}, 1, 511));
}

TEST_CASE("trim: an UNMAP that is not known is no error, one that fails is") {
  Bench bench({.unmap = false});
  bench.connect();
  Reply* const unknown = bench.trim(0, 512 * 3000);
  bench.run();
  CHECK(unknown->error == Error::none);
  CHECK(count(bench, kUnmap) <= nbdgw::bridge::kRangeCommands);
  const std::size_t sent = bench.lun.sent;
  Reply* const again = bench.trim(0, 40960);
  bench.deliver();
  CHECK(again->finished);
  CHECK(bench.lun.sent == sent);

  Bench other;
  other.connect();
  Reply* const field = other.trim(0, 40960);
  other.lun.refuse(0, make_sense(scsi::SenseKey::illegal_request, 0x26), other.now);
  other.run();
  CHECK(field->error == Error::eio);
  Reply* const medium = other.trim(0, 512 * 3000);
  other.lun.refuse(3, make_sense(scsi::SenseKey::medium_error, 0x0c), other.now);
  other.run();
  CHECK(medium->error == Error::eio);
  CHECK(count(other, kUnmap) == 7);  // those that were out; no more were begun
  other.check_idle();
  bench.check_idle();
}

TEST_CASE("ranges: one segment is enough to come to the end") {
  Bench bench({}, {.segments = nbdgw::bridge::segments_for(Bench::kMaxPayload)});
  bench.connect();
  // All but one are taken by requests that have not begun.
  std::vector<Reply*> held;
  for (std::size_t i = 1; i < nbdgw::bridge::segments_for(Bench::kMaxPayload); ++i) {
    held.push_back(bench.admit(nbdgw::proto::nbd::Command::read, 0, 512));
  }
  Reply* const zero = bench.zero(100, 1'000'000);
  CHECK(bench.admit(nbdgw::proto::nbd::Command::trim, 0, 512) == nullptr);
  CHECK(bench.lun.waiting.size() == 1);
  bench.run();
  CHECK(zero->error == Error::none);
  for (Reply* reply : held) bench.target->start(*reply->request, bench.now);
  bench.run();
  bench.check_idle();
}

TEST_CASE("write zeroes: a LUN that keeps 16 bits of the count, and reports no limit, is not wiped") {
  Bench bench({.blocks = 140'000, .lbpws = false, .write_same_16_bits = true, .max_write_same = 0});
  bench.connect();
  std::fill(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{0xee});
  const std::uint32_t length = 2 * 65536 * 512;
  Reply* const reply = bench.zero(512, length);
  bench.run();
  REQUIRE(reply->finished);
  CHECK(reply->error == Error::none);
  CHECK(count(bench, kWriteSame16) == 3);
  const auto at = [&](std::size_t i) { return bench.lun.disk[i]; };
  CHECK(at(511) == 0xee);
  CHECK(at(512 + length) == 0xee);
  CHECK(std::all_of(bench.lun.disk.begin() + 512, bench.lun.disk.begin() + 512 + length,
                    [](std::uint8_t byte) { return byte == 0; }));
  bench.check_idle();
}

TEST_CASE("trim: a LUN that cannot unmap any more when it is back gets no UNMAP") {
  Bench bench;
  bench.connect();
  Reply* const reply = bench.trim(0, 64 * 512);
  bench.lose_session();
  bench.lun.options.lbpu = false;
  bench.connect();
  bench.run();
  REQUIRE(reply->finished);
  CHECK(reply->error == Error::none);
  CHECK(count(bench, kUnmap) == 0);
  bench.check_idle();
}
