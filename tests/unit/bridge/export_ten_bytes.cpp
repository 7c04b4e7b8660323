// LUNs that do not know the 16-byte forms of their commands.
#include <algorithm>
#include <numeric>

#include <doctest/doctest.h>

#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::ExportState;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::nbd::kCmdFlagFua;
namespace scsi = nbdgw::proto::scsi;

namespace {

constexpr auto kRead10 = static_cast<std::uint8_t>(scsi::Opcode::read_10);
constexpr auto kRead16 = static_cast<std::uint8_t>(scsi::Opcode::read_16);
constexpr auto kWrite10 = static_cast<std::uint8_t>(scsi::Opcode::write_10);
constexpr auto kWrite16 = static_cast<std::uint8_t>(scsi::Opcode::write_16);
constexpr auto kWriteSame10 = static_cast<std::uint8_t>(scsi::Opcode::write_same_10);
constexpr auto kWriteSame16 = static_cast<std::uint8_t>(scsi::Opcode::write_same_16);
constexpr auto kSynchronize10 = static_cast<std::uint8_t>(scsi::Opcode::synchronize_cache_10);
constexpr std::uint64_t kReach = std::uint64_t{1} << 32;

/// It knows nothing that has 16 bytes.
LunOptions old_lun() {
  return {.capacity_16 = false, .transfer_16 = false, .write_same_16 = false, .synchronize_16 = false};
}

bool is_of_16_bytes(std::uint8_t opcode) {
  return opcode >> 5 == 4;
}

std::size_t count(const Bench& bench, std::uint8_t opcode) {
  return static_cast<std::size_t>(std::count(bench.lun.log.begin(), bench.lun.log.end(), opcode));
}

/// A LUN of so many blocks, which execute nothing: end its commands with refuse().
void make_large(Bench& bench, std::uint64_t blocks) {
  bench.lun.options.blocks = blocks;
  bench.lun.options.lbpu = bench.lun.options.lbpws = false;
}

}  // namespace

TEST_CASE("10-byte commands: a burst that is refused is sent again in the other form, and nobody sees an error") {
  Bench bench(old_lun());
  bench.connect();
  std::iota(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{0});
  bench.lun.log.clear();
  std::vector<Reply*> reads;
  std::vector<Reply*> writes;
  for (std::uint64_t i = 0; i < 20; ++i) {
    reads.push_back(bench.read(i * 4096, 4096));
    // Some in the middle of a block: these read first.
    writes.push_back(bench.write(512'000 + i * 8192 + (i % 3) * 7, 3000, static_cast<std::uint8_t>(0x80 + i)));
  }
  CHECK(bench.lun.waiting.size() == 40);
  bench.run();
  for (std::uint64_t i = 0; i < 20; ++i) {
    REQUIRE(reads[i]->finished);
    CHECK(reads[i]->error == Error::none);
    CHECK(std::equal(reads[i]->data.begin(), reads[i]->data.end(),
                     bench.lun.disk.begin() + static_cast<std::ptrdiff_t>(i * 4096)));
    REQUIRE(writes[i]->finished);
    CHECK(writes[i]->error == Error::none);
    const std::size_t at = 512'000 + i * 8192 + (i % 3) * 7;
    CHECK(bench.lun.disk[at] == 0x80 + i);
    CHECK(bench.lun.disk[at + 2999] == 0x80 + i);
  }
  // Those that were out, and no more.
  CHECK(count(bench, kRead16) + count(bench, kWrite16) == 40);
  bench.lun.log.clear();
  bench.read(0, 100'000);
  bench.write(7, 100'000, 1);
  bench.run();
  CHECK(std::none_of(bench.lun.log.begin(), bench.lun.log.end(), is_of_16_bytes));
  bench.check_idle();
}

TEST_CASE("10-byte commands: zeroes, FUA and FLUSH") {
  for (const bool dpofua : {true, false}) {
    CAPTURE(dpofua);
    LunOptions options = old_lun();
    options.dpofua = dpofua;
    options.blocks = 8192;
    options.max_write_same = 0;
    Bench bench(options);
    bench.connect();
    std::fill(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{0xee});
    Reply* const zero = bench.zero(100, 3'000'000);
    Reply* const write = bench.write(3'500'000, 512, 7, kCmdFlagFua);
    bench.run();
    Reply* const flush = bench.flush();
    bench.run();
    CHECK(zero->error == Error::none);
    CHECK(write->error == Error::none);
    CHECK(flush->error == Error::none);
    CHECK(bench.lun.disk[99] == 0xee);
    CHECK(bench.lun.disk[100] == 0);
    CHECK(bench.lun.disk[3'000'099] == 0);
    CHECK(bench.lun.disk[3'000'100] == 0xee);
    CHECK(bench.lun.dirty.empty());
    CHECK(count(bench, kWriteSame10) > 0);
    bench.lun.log.clear();
    bench.zero(0, 512);
    bench.run();
    bench.flush();
    bench.run();
    CHECK(bench.lun.log == std::vector{kWriteSame10, kSynchronize10});
    bench.check_idle();
  }
}

TEST_CASE("10-byte commands: WRITE SAME(10) alone, and no WRITE SAME at all") {
  Bench ten({.write_same_16 = false, .max_write_same = 0});
  ten.connect();
  ten.zero(0, 1024);
  ten.run();
  ten.lun.log.clear();
  ten.zero(0, 1024);
  ten.write(0, 512, 1);
  ten.run();
  CHECK(ten.lun.log == std::vector{kWriteSame10, kWrite16});

  Bench none({.write_same = false});
  none.connect();
  Reply* const reply = none.zero(0, 1024);
  none.run();
  CHECK(reply->error == Error::none);
  CHECK(count(none, kWriteSame16) == 1);
  CHECK(count(none, kWriteSame10) == 1);
  none.lun.log.clear();
  none.zero(0, 1024);
  none.run();
  CHECK(none.lun.log == std::vector{kWrite16});
}

TEST_CASE("10-byte commands: no command has more than 16 bits of blocks") {
  LunOptions options = old_lun();
  options.capacity_16 = true;
  options.max_write_same = 1'000'000;
  Bench bench(options);
  make_large(bench, kReach);
  bench.connect();
  Reply* const reply = bench.zero(0, 400 * 1024 * 1024);
  bench.lun.complete(0, bench.now);  // refused, in the form of 16 bytes
  std::uint64_t zeroed = 0;
  while (!bench.lun.waiting.empty()) {
    if (FakeLun::opcode(*bench.lun.waiting[0]) == kWriteSame16) {
      bench.lun.complete(0, bench.now);
      continue;
    }
    REQUIRE(FakeLun::opcode(*bench.lun.waiting[0]) == kWriteSame10);
    CHECK(FakeLun::count(*bench.lun.waiting[0]) <= 0x8000);
    zeroed += FakeLun::count(*bench.lun.waiting[0]);
    bench.lun.refuse(0, 0x00, bench.now);
  }
  bench.deliver();
  CHECK(reply->error == Error::none);
  CHECK(zeroed == 400 * 2048);
  bench.check_idle();
}

TEST_CASE(
    "10-byte commands: an invalid field is about the command only where READ CAPACITY(16) is not known either") {
  LunOptions options = old_lun();
  options.transfer_16_asc = 0x24;
  Bench old(options);
  old.connect();
  Reply* const read = old.read(0, 4096);
  Reply* const write = old.write(4096, 4096, 1, kCmdFlagFua);
  old.run();
  CHECK(read->error == Error::none);
  CHECK(write->error == Error::none);
  CHECK(old.lun.dirty.empty());
  old.check_idle();

  options.capacity_16 = true;
  Bench other(options);
  other.connect();
  other.lun.log.clear();
  Reply* const refused = other.read(0, 4096);
  other.run();
  CHECK(refused->error == Error::eio);
  CHECK(refused->text == "the LUN refuses the command");
  CHECK(other.lun.log == std::vector{kRead16});
  other.check_idle();
}

TEST_CASE("10-byte commands: what is refused in that form, too, is an error, and ends") {
  Bench bench(old_lun());
  bench.connect();
  Reply* const read = bench.read(0, 512);
  bench.lun.complete(0, bench.now);
  REQUIRE(FakeLun::opcode(*bench.lun.waiting.at(0)) == kRead10);
  bench.lun.refuse(0, make_sense(scsi::SenseKey::illegal_request, 0x20), bench.now);
  bench.deliver();
  CHECK(read->error == Error::eio);
  CHECK(bench.lun.waiting.empty());
  bench.check_idle();
}

TEST_CASE("10-byte commands: kept over a reset of the LUN, tried again when it has changed and after a login") {
  Bench bench(old_lun());
  bench.connect();
  const auto opcode_of_a_read = [&] {
    bench.read(0, 512);
    const std::uint8_t opcode = FakeLun::opcode(*bench.lun.waiting.at(0));
    bench.run();
    return opcode;
  };
  CHECK(opcode_of_a_read() == kRead16);
  CHECK(opcode_of_a_read() == kRead10);
  bench.target->on_unit_reset(bench.now);
  bench.run();
  CHECK(opcode_of_a_read() == kRead10);
  // Microcode has been changed.
  bench.lun.attentions.push_back(make_sense(scsi::SenseKey::unit_attention, 0x3f, 0x01));
  bench.read(0, 512);
  bench.run();
  CHECK(bench.target->state() == ExportState::online);
  CHECK(opcode_of_a_read() == kRead10);  // asked for above, and refused again
  CHECK(count(bench, kRead16) == 2);
  bench.lose_session();
  bench.lun.options = {};
  bench.connect();
  CHECK(opcode_of_a_read() == kRead16);
  CHECK(opcode_of_a_read() == kRead16);
  bench.check_idle();
}

TEST_CASE("10-byte commands: a command of the other form that comes back late changes nothing") {
  // Refused commands are under way when another login has brought a LUN that knows them.
  Bench bench(old_lun());
  bench.connect();
  Reply* const first = bench.read(0, 512);
  Reply* const second = bench.read(512, 512);
  bench.lun.complete(0, bench.now);
  CHECK(FakeLun::opcode(*bench.lun.waiting.at(1)) == kRead10);
  bench.lose_session();
  bench.lun.options.transfer_16 = true;
  bench.connect();
  CHECK(first->error == Error::none);
  CHECK(second->error == Error::none);
  bench.lun.log.clear();
  bench.read(0, 512);
  bench.run();
  CHECK(bench.lun.log == std::vector{kRead16});
  bench.check_idle();
}

TEST_CASE("10-byte commands: a LUN that is larger than they reach is refused, in words") {
  LunOptions options = old_lun();
  options.capacity_16 = true;
  Bench bench(options);
  make_large(bench, kReach + 1);
  bench.connect();
  std::vector<Reply*> burst;
  for (std::uint64_t i = 0; i < 4; ++i) burst.push_back(bench.read(i * 512, 512));
  burst.push_back(bench.write(kReach * 512, 512, 1, kCmdFlagFua));
  bench.run();
  for (const Reply* reply : burst) {
    REQUIRE(reply->finished);
    CHECK(reply->error == Error::eio);
  }
  CHECK(bench.target->state() == ExportState::refused);
  CHECK(bench.target->status().reason.find("larger than its 10-byte commands reach") != std::string::npos);
  CHECK(bench.lun.waiting.empty());
  Reply* const later = bench.read(0, 512);
  bench.deliver();
  CHECK(later->error == Error::eio);
  // A reset does not help, a login might.
  bench.target->on_unit_reset(bench.now);
  bench.run();
  CHECK(bench.target->state() == ExportState::refused);
  bench.lose_session();
  bench.connect();
  bench.read(0, 512);
  CHECK(FakeLun::opcode(*bench.lun.waiting.at(0)) == kRead16);
  bench.lun.refuse(0, 0x00, bench.now);
  bench.deliver();
  bench.check_idle();
}

TEST_CASE("10-byte commands: up to their last block, and not beyond when the LUN grows") {
  LunOptions options = old_lun();
  options.capacity_16 = true;
  Bench bench(options);
  make_large(bench, kReach);
  bench.connect();
  bench.read((kReach - 8) * 512, 8 * 512);
  bench.lun.complete(0, bench.now);  // refused
  REQUIRE(FakeLun::opcode(*bench.lun.waiting.at(0)) == kRead10);
  CHECK(FakeLun::lba(*bench.lun.waiting[0]) == kReach - 8);
  bench.lun.refuse(0, 0x00, bench.now);
  bench.deliver();
  CHECK(bench.target->state() == ExportState::online);

  make_large(bench, kReach + 1);
  bench.target->on_unit_reset(bench.now);
  bench.run();
  CHECK(bench.target->state() == ExportState::refused);
  CHECK(bench.target->info().size == kReach * 512);
  bench.check_idle();
}
