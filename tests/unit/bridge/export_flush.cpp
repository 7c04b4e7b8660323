#include <algorithm>

#include <doctest/doctest.h>

#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::nbd::kCmdFlagFua;
namespace scsi = nbdgw::proto::scsi;

namespace {

constexpr auto kWrite16 = static_cast<std::uint8_t>(scsi::Opcode::write_16);
constexpr auto kSync16 = static_cast<std::uint8_t>(scsi::Opcode::synchronize_cache_16);
constexpr auto kSync10 = static_cast<std::uint8_t>(scsi::Opcode::synchronize_cache_10);

bool has_fua(const FakeLun::Command& command) {
  const auto cdb = scsi::ReadWrite::parse(std::span(command.cdb).first(command.cdb_length));
  return cdb && cdb->fua;
}

}  // namespace

TEST_CASE("flush: synchronizes the whole LUN, and counts what it covers") {
  Bench bench;
  bench.connect();
  bench.write(0, 512, 1);
  bench.write(512, 512, 1);
  bench.run();
  CHECK(bench.target->cache().unflushed() == 2);
  CHECK(bench.lun.dirty.size() == 2);
  Reply* const flush = bench.flush();
  CHECK(bench.lun.waiting.size() == 1);
  // Its status comes after the SYNCHRONIZE CACHE was sent: not covered.
  bench.write(1024, 512, 1);
  bench.lun.complete(1, bench.now);
  bench.run();
  CHECK(flush->error == Error::none);
  CHECK(bench.target->cache().unflushed() == 1);
  CHECK(bench.lun.log.back() == kSync16);
  bench.check_idle();
}

TEST_CASE("flush: shares a SYNCHRONIZE CACHE only with those that came before it was sent") {
  Bench bench({}, {.queue_depth = 1});
  bench.connect();
  Reply* const read = bench.read(0, 512);  // takes the only place in the queue
  Reply* const first = bench.flush();
  Reply* const second = bench.flush();
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(read->finished);
  REQUIRE(bench.lun.waiting.size() == 1);
  Reply* const late = bench.flush();
  CHECK(bench.lun.waiting.size() == 1);
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(first->finished);
  CHECK(second->finished);
  CHECK_FALSE(late->finished);
  CHECK(bench.lun.waiting.size() == 1);
  bench.run();
  CHECK(late->finished);
  CHECK(bench.lun.synchronized == 2);
  bench.check_idle();
}

TEST_CASE("flush: does not wait behind writes that it need not cover") {
  Bench bench({}, {.queue_depth = 1});
  bench.connect();
  for (int i = 0; i < 10; ++i) bench.write(static_cast<unsigned>(i) * 512U, 512, 1);
  Reply* const flush = bench.flush();
  bench.lun.complete(0, bench.now);
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(flush->finished);
  bench.run();
  bench.check_idle();
}

TEST_CASE("flush: nothing to do without a volatile cache") {
  Bench bench({.write_cache = false});
  bench.connect();
  Reply* const write = bench.write(0, 512, 1, kCmdFlagFua);
  CHECK_FALSE(has_fua(*bench.lun.waiting.at(0)));
  bench.run();
  Reply* const flush = bench.flush();
  bench.deliver();
  CHECK(flush->finished);
  CHECK(write->error == Error::none);
  CHECK(flush->error == Error::none);
  CHECK(bench.lun.synchronized == 0);
  CHECK(bench.target->cache().unflushed() == 0);
  bench.check_idle();
}

TEST_CASE("flush: an error reaches the client, and the next flush tries again") {
  Bench bench;
  bench.connect();
  Reply* const failed = bench.flush();
  bench.lun.refuse(0, make_sense(scsi::SenseKey::medium_error, 0x0c), bench.now);
  bench.deliver();
  CHECK(failed->finished);
  CHECK(failed->error == Error::eio);
  CHECK(failed->text == "medium error");
  Reply* const next = bench.flush();
  bench.run();
  CHECK(next->error == Error::none);
  bench.check_idle();
}

TEST_CASE("flush: SYNCHRONIZE CACHE(10) where (16) is not known; write-through where neither is") {
  SUBCASE("10") {
    Bench bench({.synchronize_16 = false});
    bench.connect();
    bench.write(0, 512, 1);
    bench.run();
    Reply* const flush = bench.flush();
    bench.run();
    CHECK(flush->error == Error::none);
    CHECK(bench.lun.dirty.empty());
    CHECK(bench.target->cache().unflushed() == 0);
    bench.lun.log.clear();
    bench.flush();
    bench.run();
    CHECK(bench.lun.log == std::vector{kSync10});  // remembered
    bench.check_idle();
  }
  SUBCASE("none") {
    Bench bench({.synchronize_16 = false, .synchronize_10 = false});
    bench.connect();
    Reply* const flush = bench.flush();
    bench.run();
    CHECK(flush->error == Error::none);
    CHECK(bench.target->counters().refusals == 2);
    const std::size_t sent = bench.lun.sent;
    Reply* const again = bench.flush();
    bench.deliver();
    CHECK(again->error == Error::none);
    CHECK(again->finished);
    CHECK(bench.lun.sent == sent);
    bench.check_idle();
  }
  SUBCASE("known, but refused") {
    Bench bench({.synchronize_16 = false});
    bench.connect();
    Reply* const flush = bench.flush();
    bench.lun.complete(0, bench.now);
    REQUIRE(FakeLun::opcode(*bench.lun.waiting.at(0)) == kSync10);
    bench.lun.refuse(0, make_sense(scsi::SenseKey::illegal_request, 0x24), bench.now);
    bench.deliver();
    CHECK(flush->finished);
    CHECK(flush->error == Error::eio);
    bench.check_idle();
  }
}

TEST_CASE("FUA: the bit where the LUN has it") {
  Bench bench;
  bench.connect();
  Reply* const reply = bench.write(100, 2000, 1, kCmdFlagFua);
  // The reads at the ends have no FUA bit, the write has.
  CHECK_FALSE(has_fua(*bench.lun.waiting.at(0)));
  bench.run();
  CHECK(reply->error == Error::none);
  CHECK(bench.lun.dirty.empty());
  CHECK(bench.lun.synchronized == 0);
  CHECK(bench.target->cache().unflushed() == 0);
  bench.check_idle();
}

TEST_CASE("FUA: else SYNCHRONIZE CACHE, after the status and before the reply") {
  Bench bench({.blocks = 16384, .dpofua = false});
  bench.connect();
  bench.lun.log.clear();
  const std::uint32_t two_parts = 2 * 1024 * 1024;
  Reply* const reply = bench.write(0, two_parts, 1, kCmdFlagFua);
  REQUIRE(bench.lun.waiting.size() == 2);
  bench.lun.complete(1, bench.now);
  bench.deliver();
  CHECK(bench.lun.waiting.size() == 1);  // not before all of it has its status
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK_FALSE(reply->finished);
  REQUIRE(bench.lun.waiting.size() == 1);
  // The target is done with the write: one that overlaps it need not wait for the cache.
  Reply* const next = bench.write(0, 512, 2);
  CHECK(bench.lun.waiting.size() == 2);
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(reply->finished);
  CHECK(reply->error == Error::none);
  bench.run();
  CHECK(next->finished);
  CHECK(bench.lun.log == std::vector{kWrite16, kWrite16, kSync16, kWrite16});
  bench.check_idle();
}

TEST_CASE("FUA: on TRIM and WRITE_ZEROES too; ignored on READ") {
  Bench bench;
  bench.connect();
  for (Reply* reply : {bench.zero(0, 40960, kCmdFlagFua), bench.trim(81920, 40960, kCmdFlagFua)}) {
    while (!reply->finished) {
      REQUIRE_FALSE(bench.lun.waiting.empty());
      bench.lun.complete(0, bench.now);
      bench.deliver();
    }
    CHECK(reply->error == Error::none);
    CHECK(bench.lun.log.back() == kSync16);
  }
  const std::uint64_t before = bench.lun.synchronized;
  Reply* const read = bench.simple(Command::read, 0, 512, kCmdFlagFua);
  bench.run();
  CHECK(read->error == Error::none);
  CHECK(bench.lun.synchronized == before);
  bench.check_idle();
}

TEST_CASE("FUA: a failed SYNCHRONIZE CACHE fails the write") {
  Bench bench({.dpofua = false});
  bench.connect();
  Reply* const reply = bench.write(0, 512, 1, kCmdFlagFua);
  bench.lun.complete(0, bench.now);
  bench.lun.refuse(0, make_sense(scsi::SenseKey::hardware_error, 0x44), bench.now);
  bench.deliver();
  CHECK(reply->finished);
  CHECK(reply->error == Error::eio);
  bench.check_idle();
}

TEST_CASE("fua: a LUN that announces the bit and refuses it is flushed instead, from then on") {
  Bench bench({.blocks = 16384, .fua_refused = true});
  bench.connect();
  Reply* const large = bench.write(0, 3 << 20, 1, nbdgw::proto::nbd::kCmdFlagFua);  // several commands, all refused
  bench.run();
  CHECK(large->error == Error::none);
  CHECK(bench.lun.synchronized == 1);
  CHECK(bench.lun.dirty.empty());
  const auto refusals = bench.target->counters().refusals;
  Reply* const next = bench.write(0, 4096, 2, nbdgw::proto::nbd::kCmdFlagFua);
  bench.run();
  CHECK(next->error == Error::none);
  CHECK(bench.lun.synchronized == 2);
  CHECK(bench.target->counters().refusals == refusals);
  // A write that is refused without the bit, too, is an error all the same.
  Reply* const last = bench.write(0, 4096, 3, nbdgw::proto::nbd::kCmdFlagFua);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lun.refuse(0, make_sense(nbdgw::proto::scsi::SenseKey::illegal_request, 0x24), bench.now);
  bench.run();
  CHECK(last->error == Error::eio);
  bench.check_idle();
}
