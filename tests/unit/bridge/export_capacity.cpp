// A LUN whose size changes while it is online, with and without a word; and rescans by hand.
#include <algorithm>
#include <map>

#include <doctest/doctest.h>

#include "gateway/bridge/capacity_rounds.hpp"
#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"
#include "tests/unit/random.hpp"

using nbdgw::bridge::CacheEvent;
using nbdgw::bridge::CapacityRounds;
using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::ExportState;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using nbdgw::proto::nbd::Error;
namespace scsi = nbdgw::proto::scsi;

namespace {

constexpr auto kInquiry = static_cast<std::uint8_t>(scsi::Opcode::inquiry);
constexpr auto kCapacity16 = static_cast<std::uint8_t>(scsi::Opcode::service_action_in_16);
constexpr auto kRead16 = static_cast<std::uint8_t>(scsi::Opcode::read_16);
constexpr auto kWrite16 = static_cast<std::uint8_t>(scsi::Opcode::write_16);
constexpr auto kWriteSame16 = static_cast<std::uint8_t>(scsi::Opcode::write_same_16);

/// The kinds of the events since the last call.
std::vector<CacheEvent::Kind> kinds(Bench& bench) {
  std::vector<CacheEvent::Kind> found;
  for (const CacheEvent& event : bench.unit_events()) found.push_back(event.kind);
  return found;
}

void resize(Bench& bench, std::uint64_t blocks) {
  bench.lun.options.blocks = blocks;
  bench.lun.disk.resize(blocks * bench.lun.options.block);
}

class Random final : public nbdgw::proto::RandomSource {
 public:
  void fill(std::span<std::uint8_t> out) override {
    for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(source_());
  }

 private:
  std::mt19937_64 source_ = nbdgw::test::seeded_random();
};

}  // namespace

TEST_CASE("capacity: a LUN that grew without a word is noticed, and nobody waits for it") {
  Bench bench;
  bench.connect();
  kinds(bench);
  const auto probes = bench.target->counters().probes;
  bench.read(0, 512);  // it is not silent
  bench.lun.log.clear();
  bench.target->poll_capacity(bench.now);
  CHECK(bench.target->asks_online());
  Reply* const beside = bench.write(512, 512, 1);
  CHECK(bench.lun.waiting.size() == 3);
  bench.run();
  CHECK(beside->error == Error::none);
  CHECK(bench.lun.log == std::vector{kRead16, kCapacity16, kWrite16});
  CHECK(kinds(bench).empty());
  CHECK(bench.target->counters().probes == probes);
  CHECK_FALSE(bench.target->asks_online());

  resize(bench, 8192);
  bench.target->poll_capacity(bench.now);
  bench.run();
  CHECK(bench.target->state() == ExportState::online);
  CHECK(bench.target->info().size == 8192 * 512);
  const auto events = bench.unit_events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == CacheEvent::Kind::grown);
  CHECK(events[0].cause.starts_with("it grew from 2097152 to 4194304 bytes"));
  Reply* const there = bench.write(3'000'000, 512, 9);
  bench.run();
  CHECK(there->error == Error::none);
  CHECK(bench.lun.disk[3'000'000] == 9);
  bench.check_idle();
}

TEST_CASE("capacity: the size of another disk is not taken for that of the right one") {
  Bench bench;
  bench.connect();
  kinds(bench);
  const std::string serial = bench.lun.options.serial;
  bench.read(0, 512);  // it is not silent: nobody asks first who it is
  bench.run();
  resize(bench, 8192);
  bench.lun.options.serial = "another";
  bench.target->poll_capacity(bench.now);
  bench.run();
  CHECK(bench.target->state() == ExportState::refused);
  CHECK(bench.target->info().size == 4096 * 512);
  CHECK(kinds(bench) == std::vector{CacheEvent::Kind::refused});
  resize(bench, 4096);
  bench.lun.options.serial = serial;
  bench.now = std::max(bench.now, bench.target->next_deadline());
  bench.target->on_deadline(bench.now);
  bench.run();
  CHECK(bench.target->state() == ExportState::online);
  CHECK(bench.target->info().size == 4096 * 512);
  bench.check_idle();
}

TEST_CASE("capacity: a LUN that is larger each time it is asked is taken as it is found to be, and that ends") {
  Bench bench;
  bench.connect();
  kinds(bench);
  bench.read(0, 512);
  bench.run();
  std::uint64_t blocks = 4096;
  bench.target->poll_capacity(bench.now);
  for (int i = 0; i < 100 && !bench.lun.waiting.empty(); ++i) {
    if (bench.lun.opcode(*bench.lun.waiting.front()) == kCapacity16) resize(bench, blocks += 8);
    bench.lun.complete(0, bench.now);
  }
  CHECK(bench.lun.waiting.empty());
  CHECK(bench.target->state() == ExportState::online);
  CHECK(bench.target->info().size == blocks * 512);
  CHECK(blocks == 4096 + 2 * 8);
  CHECK(kinds(bench) == std::vector{CacheEvent::Kind::grown});
  bench.check_idle();
}

TEST_CASE("capacity: a LUN that shrank without a word is refused") {
  Bench bench;
  bench.connect();
  kinds(bench);
  resize(bench, 4095);
  Reply* const read = bench.read(0, 512);
  bench.target->poll_capacity(bench.now);
  bench.run();
  CHECK(read->error == Error::none);
  CHECK(bench.target->state() == ExportState::refused);
  CHECK(bench.target->info().size == 4096 * 512);
  CHECK(kinds(bench) == std::vector{CacheEvent::Kind::refused});
  resize(bench, 4096);
  bench.now = std::max(bench.now, bench.target->next_deadline());
  bench.target->on_deadline(bench.now);
  bench.run();
  CHECK(bench.target->state() == ExportState::online);
  bench.check_idle();
}

TEST_CASE("capacity: after a silence the LUN is asked first which disk it is, and requests wait for that") {
  ExportConfig config;
  config.silence = 5 * kMillisecond;
  for (const bool another : {false, true}) {
    CAPTURE(another);
    Bench bench({}, config);
    bench.connect();
    bench.now += kSecond;
    if (another) bench.lun.options.serial = "disk-2";
    resize(bench, 8192);
    bench.target->poll_capacity(bench.now);
    REQUIRE(bench.lun.waiting.size() == 1);
    CHECK(FakeLun::opcode(*bench.lun.waiting[0]) == kInquiry);
    Reply* const write = bench.write(0, 512, 1);
    CHECK(bench.lun.waiting.size() == 1);
    bench.run();
    CHECK(write->error == (another ? Error::eio : Error::none));
    CHECK(bench.target->state() == (another ? ExportState::refused : ExportState::online));
    CHECK(bench.target->info().size == (another ? 4096 : 8192) * 512);
    CHECK(std::count(bench.lun.log.begin(), bench.lun.log.end(), kWrite16) == (another ? 0 : 1));
  }
}

TEST_CASE("capacity: a question that fails changes nothing, one that tells of another disk holds everything") {
  Bench bench;
  bench.connect();
  kinds(bench);
  bench.read(0, 512);
  bench.target->poll_capacity(bench.now);
  bench.lun.refuse(1, make_sense(scsi::SenseKey::not_ready, 0x04, 0x03), bench.now);
  CHECK(bench.target->state() == ExportState::online);
  CHECK(bench.target->asks_online());  // it may be so whatever is asked, which nobody has noticed: it is probed
  bench.run();
  CHECK(bench.target->state() == ExportState::online);
  CHECK_FALSE(bench.target->asks_online());
  CHECK(kinds(bench).empty());

  // Nor does one that the LUN has no time for say that its queue is too deep.
  bench.target->poll_capacity(bench.now);
  bench.lun.refuse(0, 0x08, bench.now);
  CHECK(bench.target->counters().queue_full == 1);
  CHECK(bench.target->queue().depth() == nbdgw::bridge::kQueueDepth);
  bench.now = std::max(bench.now, bench.target->next_deadline());
  bench.target->on_deadline(bench.now);
  bench.run();
  CHECK_FALSE(bench.target->asks_online());

  Reply* const under_way = bench.read(0, 512);
  bench.target->poll_capacity(bench.now);
  bench.lun.refuse(1, make_sense(scsi::SenseKey::unit_attention, 0x3f, 0x0e), bench.now);
  CHECK(bench.target->state() == ExportState::probing);
  Reply* const later = bench.write(0, 512, 1);
  const auto writes = [&] { return std::count(bench.lun.log.begin(), bench.lun.log.end(), kWrite16); };
  bench.lun.complete(0, bench.now);
  CHECK_FALSE(under_way->finished);  // which disk it was from is not known
  CHECK(writes() == 0);
  bench.run();
  CHECK(under_way->error == Error::none);
  CHECK(later->error == Error::none);
  CHECK(kinds(bench) == std::vector{CacheEvent::Kind::in_question, CacheEvent::Kind::confirmed});
  bench.check_idle();
}

TEST_CASE("capacity: the session is lost while it is asked for") {
  Bench bench;
  bench.connect();
  bench.read(0, 512);
  bench.target->poll_capacity(bench.now);
  REQUIRE(bench.lun.waiting.size() == 2);
  bench.lose_session();
  bench.lun.lose_path(bench.now);
  resize(bench, 8192);
  bench.connect();
  CHECK(bench.target->info().size == 8192 * 512);
  bench.check_idle();
}

TEST_CASE("capacity: asked for only where an export is online and its LUN is asked nothing else") {
  Bench bench;
  bench.target->poll_capacity(bench.now);
  CHECK(bench.lun.waiting.empty());
  bench.target->on_session_up(0, bench.now);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.target->poll_capacity(bench.now);
  CHECK(bench.lun.waiting.size() == 1);
  bench.run();
  bench.target->poll_capacity(bench.now);
  bench.target->poll_capacity(bench.now);
  CHECK(bench.lun.waiting.size() == 1);
  bench.run();
  bench.lose_session();
  bench.target->poll_capacity(bench.now);
  CHECK(bench.lun.waiting.empty());
}

TEST_CASE("rescan: facts and size anew, what was refused is tried again, and the end is told") {
  Bench bench({.write_same = false});
  bench.connect();
  Reply* const zero = bench.zero(0, 512);
  bench.run();
  CHECK(zero->error == Error::none);
  kinds(bench);
  CHECK(bench.target->rescan(7, bench.now));
  CHECK_FALSE(bench.target->rescan(8, bench.now));
  Reply* const held = bench.write(0, 512, 1);
  CHECK(bench.target->state() == ExportState::probing);
  bench.run();
  CHECK(held->error == Error::none);
  auto events = bench.unit_events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == CacheEvent::Kind::rescanned);
  CHECK(events[0].request_id == 7);
  CHECK(events[0].good);
  CHECK(events[0].cause == "it has 2097152 bytes, as before");

  resize(bench, 8192);
  bench.lun.options.write_same = true;
  bench.lun.options.dpofua = false;
  CHECK(bench.target->rescan(9, bench.now));
  bench.run();
  CHECK(bench.target->info().size == 8192 * 512);
  CHECK_FALSE(bench.target->unit().facts().dpofua);
  events = bench.unit_events();
  REQUIRE(events.size() == 2);
  CHECK(events[0].kind == CacheEvent::Kind::grown);
  CHECK(events[1].request_id == 9);
  CHECK(events[1].cause.starts_with("it grew from 2097152 to 4194304 bytes"));
  bench.zero(0, 4096);
  CHECK(FakeLun::opcode(*bench.lun.waiting.at(0)) == kWriteSame16);
  bench.run();
  bench.check_idle();
}

TEST_CASE("rescan: how else it can end") {
  Bench bench;
  CHECK_FALSE(bench.target->rescan(1, bench.now));  // no session
  bench.connect();
  kinds(bench);
  const auto ends = [&](std::uint32_t number, bool good) {
    const auto events = bench.unit_events();
    const auto end = std::ranges::find(events, CacheEvent::Kind::rescanned, &CacheEvent::kind);
    REQUIRE(end != events.end());
    CHECK(end->request_id == number);
    CHECK(end->good == good);
    CHECK_FALSE(bench.target->rescanning());
    return end->cause;
  };
  SUBCASE("it shrank") {
    resize(bench, 4000);
    CHECK(bench.target->rescan(2, bench.now));
    bench.run();
    CHECK(bench.target->state() == ExportState::refused);
    CHECK(ends(2, false).find("the LUN shrank from 2097152 to 2048000 bytes") != std::string::npos);
    resize(bench, 4096);
    CHECK(bench.target->rescan(3, bench.now));
    bench.run();
    CHECK(ends(3, true) == "it has 2097152 bytes, as before");
    CHECK(bench.target->state() == ExportState::online);
  }
  SUBCASE("another disk") {
    bench.lun.options.serial = "disk-2";
    CHECK(bench.target->rescan(2, bench.now));
    bench.run();
    CHECK(ends(2, false).find("another unit") != std::string::npos);
    CHECK(bench.target->state() == ExportState::refused);
  }
  SUBCASE("the session is lost meanwhile") {
    CHECK(bench.target->rescan(2, bench.now));
    bench.lose_session();
    CHECK(ends(2, false) == "connection reset");
    bench.lun.lose_path(bench.now);
    bench.connect();
    CHECK(kinds(bench).empty());
  }
  SUBCASE("the LUN is reset meanwhile") {
    CHECK(bench.target->rescan(2, bench.now));
    bench.target->on_unit_reset(bench.now);
    bench.run();
    CHECK(ends(2, true) == "it has 2097152 bytes, as before");
  }
  bench.check_idle();
}

TEST_CASE("capacity rounds: each export in turn, once in about a minute, never two at a time") {
  Random random;
  for (const std::size_t exports : {1U, 2U, 7U, 200U, 5000U}) {
    CAPTURE(exports);
    CapacityRounds rounds(random);
    CHECK(rounds.next_deadline() == kNever);
    Micros now = 1000;
    rounds.plan(exports, now);
    std::map<std::size_t, int> asked;
    const std::size_t turns = 10 * exports;
    const Micros share =
        std::max(nbdgw::bridge::kCapacityPoll / static_cast<Micros>(exports), nbdgw::bridge::kLeastCapacityPause);
    for (std::size_t i = 0; i < turns; ++i) {
      CHECK(rounds.next_deadline() >= now + share * 3 / 4);
      CHECK(rounds.next_deadline() <= now + share * 5 / 4);
      now = rounds.next_deadline();
      ++asked[rounds.take(exports, now)];
    }
    CHECK(asked.size() == exports);
    CHECK(asked.rbegin()->first == exports - 1);
    CHECK(std::ranges::all_of(asked, [](const auto& each) { return each.second == 10; }));
    // Not now: soon, and nobody has lost his turn.
    const std::size_t turn = rounds.take(exports, now);
    rounds.postpone(now);
    CHECK(rounds.next_deadline() > now);
    CHECK(rounds.next_deadline() <= now + nbdgw::proto::kSecond);
    CHECK(rounds.take(exports, now) == (turn + 1) % exports);
    // Fewer of them, and none.
    CHECK(rounds.take(1, now) == 0);
    rounds.plan(0, now);
    CHECK(rounds.next_deadline() == kNever);
  }
}
