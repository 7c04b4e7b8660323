#include <algorithm>

#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

/// A LUN that was silent is asked which disk it is before anything else is sent: there are targets that tell nobody.
using nbdgw::bridge::CacheEvent;
using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::ExportState;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::SenseKey;

namespace {

constexpr std::uint8_t kInquiry = 0x12;
constexpr std::uint8_t kWrite16 = 0x8a;

ExportConfig with_silence() {
  ExportConfig config;
  config.silence = 5 * kMillisecond;
  return config;
}

/// Online, and silent for a while.
struct Silent {
  explicit Silent(const LunOptions& options = {}) : bench(options, with_silence()) {
    bench.connect();
    bench.unit_events();
    pass();
  }
  void pass() { bench.now += 6 * kMillisecond; }
  std::uint8_t waits(std::size_t i) { return FakeLun::opcode(*bench.lun.waiting.at(i)); }
  Bench bench;
};

}  // namespace

TEST_CASE("silence: the LUN is asked which disk it is, with one command, and requests go on without a word") {
  Silent silent;
  Bench& bench = silent.bench;
  Reply* const first = bench.write(0, 512, 1);
  Reply* const second = bench.read(4096, 512);
  REQUIRE(bench.lun.waiting.size() == 1);
  CHECK(silent.waits(0) == kInquiry);
  CHECK(bench.target->state() == ExportState::online);
  const auto probes = bench.target->counters().probes;
  bench.lun.complete(0, bench.now);
  CHECK(bench.lun.waiting.size() == 2);
  bench.run();
  CHECK(first->error == Error::none);
  CHECK(second->error == Error::none);
  CHECK(bench.target->counters().looks == 1);
  CHECK(bench.target->counters().probes == probes);
  CHECK(bench.target->counters().identity_doubts == 0);
  CHECK(bench.unit_events().empty());
  // Not again while it answers.
  for (int i = 0; i < 5; ++i) {
    bench.now += 4 * kMillisecond;
    bench.write(0, 512, 1);
    REQUIRE(bench.lun.waiting.size() == 1);
    CHECK(silent.waits(0) == kWrite16);
    bench.run();
  }
  CHECK(bench.target->counters().looks == 1);
  bench.check_idle();
}

TEST_CASE("silence: another disk, none, or one that does not say: held, probed, and not a byte goes there") {
  enum class Now { another, gone, mute, error };
  for (const Now what : {Now::another, Now::gone, Now::mute, Now::error}) {
    CAPTURE(static_cast<int>(what));
    Silent silent;
    Bench& bench = silent.bench;
    const LunOptions before = bench.lun.options;
    if (what == Now::another) bench.lun.options.serial = "disk-2";
    if (what == Now::gone) bench.lun.options.absent = true;
    if (what == Now::mute) bench.lun.options.tells_serial = false;
    Reply* const write = bench.write(0, 512, 1);
    REQUIRE(bench.lun.waiting.size() == 1);
    if (what == Now::error) {
      bench.lun.refuse(0, make_sense(SenseKey::hardware_error, 0x44), bench.now);
    } else {
      bench.lun.complete(0, bench.now);
    }
    CHECK(bench.target->state() == ExportState::probing);
    CHECK(bench.target->counters().identity_doubts == 1);
    bench.run();
    CHECK(std::ranges::count(bench.lun.log, kWrite16) == (what == Now::error ? 1 : 0));
    CHECK(write->finished == (what == Now::another || what == Now::error));
    bench.lun.options = before;
    while (bench.target->state() != ExportState::online) {
      REQUIRE(bench.target->next_deadline() != nbdgw::proto::kNever);
      bench.now = std::max(bench.now, bench.target->next_deadline());
      bench.target->on_deadline(bench.now);
      bench.run();
    }
    CHECK(write->finished);
    CHECK(write->error == (what == Now::another ? Error::eio : Error::none));
    const auto events = bench.unit_events();
    REQUIRE_FALSE(events.empty());
    CHECK(events.front().kind == CacheEvent::Kind::in_question);
    bench.check_idle();
  }
}

TEST_CASE("silence: where nobody has ever known which disk it is, nothing is asked") {
  LunOptions options;
  options.tells_serial = false;
  Silent silent(options);
  Bench& bench = silent.bench;
  bench.write(0, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 1);
  CHECK(silent.waits(0) == kWrite16);
  bench.run();
  CHECK(bench.target->counters().looks == 0);
  bench.check_idle();
}

TEST_CASE("silence: while a command is under way the LUN is slow, not silent") {
  Silent silent;
  Bench& bench = silent.bench;
  Reply* const slow = bench.read(0, 512);
  bench.lun.complete(0, bench.now);  // the look
  REQUIRE(bench.lun.waiting.size() == 1);
  silent.pass();
  Reply* const write = bench.write(8192, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 2);
  CHECK(silent.waits(1) == kWrite16);
  bench.run();
  CHECK(slow->error == Error::none);
  CHECK(write->error == Error::none);
  CHECK(bench.target->counters().looks == 1);
  bench.check_idle();
}

TEST_CASE("silence: what others are told meanwhile leads to a whole probe") {
  Silent silent;
  Bench& bench = silent.bench;
  Reply* const write = bench.write(8192, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.target->on_unit_event("as another export was told", bench.now);
  CHECK(bench.target->state() == ExportState::probing);
  bench.lun.options.blocks *= 2;
  bench.run();
  CHECK(bench.target->state() == ExportState::online);
  CHECK(bench.target->info().size == bench.lun.options.blocks * 512);
  CHECK(write->error == Error::none);
  bench.check_idle();
}

TEST_CASE("silence: the session is lost while the LUN is asked") {
  Silent silent;
  Bench& bench = silent.bench;
  Reply* const write = bench.write(0, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lose_session();
  CHECK(bench.target->state() == ExportState::offline);
  bench.connect();
  bench.run();
  CHECK(write->error == Error::none);
  bench.check_idle();
}

TEST_CASE("silence: the LUN is reset while it is asked") {
  Silent silent;
  Bench& bench = silent.bench;
  Reply* const write = bench.write(0, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.target->on_unit_reset(bench.now);
  bench.run();
  CHECK(bench.target->state() == ExportState::online);
  CHECK(write->error == Error::none);
  bench.check_idle();
}
