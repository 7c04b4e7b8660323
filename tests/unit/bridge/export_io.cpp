#include <numeric>

#include <doctest/doctest.h>

#include "gateway/bridge/split.hpp"
#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::Opcode;

namespace {

constexpr auto kWrite16 = static_cast<std::uint8_t>(Opcode::write_16);
constexpr auto kRead16 = static_cast<std::uint8_t>(Opcode::read_16);

std::vector<std::uint8_t> pattern(std::size_t length, std::uint8_t first = 1) {
  std::vector<std::uint8_t> data(length);
  for (std::size_t i = 0; i < length; ++i) data[i] = static_cast<std::uint8_t>(first + i * 7 + i / 251);
  return data;
}

bool same(const Bench& bench, std::uint64_t offset, const std::vector<std::uint8_t>& data) {
  return std::equal(data.begin(), data.end(), bench.lun.disk.begin() + static_cast<std::ptrdiff_t>(offset));
}

}  // namespace

TEST_CASE("export: what the probe says becomes what clients see") {
  Bench bench({.block = 4096, .blocks = 1000}, {.name = "vol7", .description = "a disk"});
  CHECK(bench.target->status().state == nbdgw::bridge::ExportState::offline);
  CHECK_FALSE(bench.target->status().known);
  bench.connect();
  const nbdgw::nbd::ExportInfo& info = bench.target->info();
  CHECK(info.name == "vol7");
  CHECK(info.description == "a disk");
  CHECK(info.size == 4'096'000);
  CHECK(info.min_block == 1);
  CHECK(info.preferred_block == 4096);
  CHECK_FALSE(info.read_only);
  CHECK(bench.target->status().known);
  bench.check_idle();
}

TEST_CASE("export: aligned data goes in and out, one command for each MiB") {
  Bench bench({.blocks = 16384, .max_write_same = 0});
  bench.connect();
  bench.lun.log.clear();
  const auto data = pattern(3 * 1024 * 1024);
  Reply* const write = bench.write(512 * 10, data);
  CHECK(bench.lun.waiting.size() == 3);
  bench.run();
  CHECK(write->finished);
  CHECK(write->error == Error::none);
  CHECK(same(bench, 512 * 10, data));
  Reply* const read = bench.read(512 * 10, static_cast<std::uint32_t>(data.size()));
  bench.run();
  CHECK(read->finished);
  CHECK(read->data == data);
  CHECK(bench.lun.log == std::vector{kWrite16, kWrite16, kWrite16, kRead16, kRead16, kRead16});
  CHECK(bench.target->counters().bytes_written == data.size());
  CHECK(bench.target->counters().bytes_read == data.size());
  bench.check_idle();
}

TEST_CASE("export: a write's command leaves as soon as its own part is there") {
  Bench bench({.blocks = 16384});
  bench.connect();
  const auto data = pattern(2 * 1024 * 1024 + 512);
  Reply* const reply = bench.admit(Command::write, 0, static_cast<std::uint32_t>(data.size()));
  auto* segment = bench.fill(*reply, data);
  CHECK(bench.lun.waiting.empty());
  bench.received(*reply, *segment);
  CHECK(bench.lun.waiting.size() == 1);
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK_FALSE(reply->finished);
  for (int i = 0; i < 2; ++i) {
    segment = bench.fill(*reply, data);
    bench.received(*reply, *segment);
  }
  bench.run();
  CHECK(reply->finished);
  CHECK(same(bench, 0, data));
  bench.check_idle();
}

TEST_CASE("export: the parts of a read are told one by one") {
  Bench bench({.blocks = 16384});
  bench.connect();
  std::iota(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{0});
  Reply* const reply = bench.read(100, 3 * 1024 * 1024);
  REQUIRE(bench.lun.waiting.size() == 4);
  bench.lun.complete(2, bench.now);
  bench.deliver();
  CHECK(reply->bytes == 1024 * 1024);
  CHECK_FALSE(reply->finished);
  bench.run();
  CHECK(reply->finished);
  CHECK(reply->data[0] == 100);
  CHECK(same(bench, 100, reply->data));
  bench.check_idle();
}

TEST_CASE("export: unaligned writes change only their own bytes") {
  for (const std::uint32_t block : {512U, 4096U, 65536U}) {
    for (const std::uint32_t max_transfer : {0U, 1U, 3U}) {
      CAPTURE(block);
      CAPTURE(max_transfer);
      Bench bench({.block = block, .blocks = 2 * 1024 * 1024 / block + 8, .max_transfer = max_transfer});
      bench.connect();
      const std::uint32_t b = block;
      const std::pair<std::uint64_t, std::uint32_t> ranges[] = {
          {1, 1},       {0, 1},         {b - 1, 1},         {b - 1, 2},
          {5, b},       {0, b + 1},     {b + 3, 9},         {b, b},
          {7, 2 * b},   {2 * b, 3 * b}, {3 * b - 1, b + 2}, {1, 4 * b - 2},
          {11, 200000}, {b, 70000 + 1}, {1, 1048576},       {0, 1048577},
      };
      for (const auto& [offset, length] : ranges) {
        CAPTURE(offset);
        CAPTURE(length);
        for (auto& byte : bench.lun.disk) byte = 0xee;
        const auto data = pattern(length);
        auto expected = bench.lun.disk;
        std::copy(data.begin(), data.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset));
        Reply* const write = bench.write(offset, data);
        bench.run();
        REQUIRE(write->finished);
        REQUIRE(write->error == Error::none);
        REQUIRE(bench.lun.disk == expected);
        Reply* const read = bench.read(offset, length);
        bench.run();
        REQUIRE(read->data == data);
      }
      CHECK(bench.target->counters().read_modify_writes > 0);
      bench.check_idle();
    }
  }
}

TEST_CASE("export: overlapping writes run one after the other, in order") {
  Bench bench;
  bench.connect();
  Reply* const first = bench.write(0, 1024, 1);
  Reply* const second = bench.write(512, 1024, 2);
  Reply* const third = bench.write(1100, 10, 3);  // the block of the second
  Reply* const other = bench.write(2048, 512, 4);
  CHECK(bench.lun.waiting.size() == 2);
  CHECK(bench.target->counters().fenced == 2);
  bench.lun.complete(1, bench.now);  // the other one
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(first->finished);
  CHECK(other->finished);
  CHECK_FALSE(second->finished);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.run();
  CHECK(second->finished);
  CHECK(third->finished);
  CHECK(bench.lun.disk[511] == 1);
  CHECK(bench.lun.disk[512] == 2);
  CHECK(bench.lun.disk[1099] == 2);
  CHECK(bench.lun.disk[1100] == 3);
  CHECK(bench.lun.disk[1110] == 2);
  bench.check_idle();
}

TEST_CASE("export: what a client has not sent yet stands in nobody's way") {
  Bench bench({.blocks = 16384});
  bench.connect();
  const std::vector<std::uint8_t> data(2 * 1024 * 1024, 9);
  Reply* const slow = bench.admit(Command::write, 0, static_cast<std::uint32_t>(data.size()));
  Reply* const quick = bench.write(0, 512, 1);
  CHECK(bench.lun.waiting.size() == 1);
  // The first part waits for that one, and no other write for what is to follow it.
  bench.received(*slow, *bench.fill(*slow, data));
  Reply* const behind = bench.write(1024 * 1024, 512, 2);
  CHECK(bench.lun.waiting.size() == 2);
  auto* const second = bench.fill(*slow, data);
  Reply* const beside = bench.write(1024 * 1024 + 4096, 512, 3);
  CHECK(bench.lun.waiting.size() == 3);
  // The second part waits for both of these.
  bench.received(*slow, *second);
  CHECK(bench.lun.waiting.size() == 3);
  CHECK(bench.target->counters().fenced == 2);
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(quick->finished);
  CHECK(bench.lun.waiting.size() == 3);
  bench.run();
  for (const Reply* reply : {slow, behind, beside}) CHECK(reply->error == Error::none);
  CHECK(slow->finished);
  CHECK(bench.lun.disk[0] == 9);
  CHECK(bench.lun.disk[1024 * 1024] == 9);
  CHECK(bench.lun.disk[1024 * 1024 + 4096] == 9);
  bench.check_idle();
}

TEST_CASE("export: the queue depth is kept, and nothing fails for it") {
  Bench bench({}, {.queue_depth = 4});
  bench.connect();
  std::vector<Reply*> replies;
  for (std::uint8_t i = 0; i < 50; ++i) replies.push_back(bench.write(i * 512U, 512, i));
  CHECK(bench.lun.waiting.size() == 4);
  CHECK(bench.target->queue().ready() == 46);
  bench.lun.most_waiting = 0;
  bench.run();
  CHECK(bench.lun.most_waiting <= 4);
  for (std::uint8_t i = 0; i < 50; ++i) {
    CHECK(replies[i]->error == Error::none);
    CHECK(bench.lun.disk[i * 512U] == i);
  }
  bench.check_idle();
}

TEST_CASE("export: no room is said before anything is taken, and room comes back") {
  Bench bench({.blocks = 16384}, {.requests = 3}, 5 * 1024 * 1024);
  bench.connect();
  SUBCASE("memory") {
    Reply* const large = bench.admit(Command::read, 0, 4 * 1024 * 1024);
    REQUIRE(large != nullptr);
    const std::size_t used = bench.pool.used();
    CHECK(bench.admit(Command::read, 0, 2 * 1024 * 1024) == nullptr);
    CHECK(bench.admit(Command::read, 1, 1024 * 1024) == nullptr);
    CHECK(bench.pool.used() == used);
    CHECK(bench.target->counters().no_room == 2);
    const std::uint64_t room = bench.target->room();
    bench.target->start(*large->request, bench.now);
    bench.run();
    CHECK(bench.target->room() != room);
    CHECK(bench.write(0, 2 * 1024 * 1024, 1) != nullptr);
  }
  SUBCASE("requests") {
    for (int i = 0; i < 3; ++i) CHECK(bench.read(0, 512) != nullptr);
    CHECK(bench.admit(Command::read, 0, 512) == nullptr);
    CHECK(bench.admit(Command::flush, 0, 0) == nullptr);
    bench.run();
    CHECK(bench.flush() != nullptr);
  }
  bench.run();
  bench.check_idle();
}

TEST_CASE("export: a draining export refuses new requests and ends the others") {
  Bench bench;
  bench.connect();
  Reply* const before = bench.write(0, 512, 1);
  bench.target->drain();
  Reply* const after = bench.write(0, 512, 2);
  Reply* const read = bench.read(0, 512);
  Reply* const flush = bench.flush();
  CHECK_FALSE(bench.target->idle());
  bench.run();
  CHECK(before->error == Error::none);
  for (const Reply* reply : {after, read, flush}) {
    CHECK(reply->finished);
    CHECK(reply->error == Error::eshutdown);
  }
  CHECK(bench.lun.disk[0] == 1);
  bench.check_idle();
}

TEST_CASE("export: the memory of a read stays until it is sent") {
  Bench bench({.blocks = 16384});
  bench.connect();
  bench.release_at_once = false;
  Reply* const reply = bench.read(0, 2 * 1024 * 1024);
  bench.run();
  CHECK(reply->finished);
  auto* first = reply->request->segments;
  REQUIRE(first->next != nullptr);
  CHECK(first->next->next == nullptr);
  const std::size_t all = bench.pool.used();
  bench.target->release(*reply->request, *first);
  CHECK(bench.pool.used() == all / 2);
  bench.target->release(*reply->request);
  bench.check_idle();
}
