#include <algorithm>

#include <doctest/doctest.h>

#include "gateway/device/logical_unit.hpp"
#include "tests/unit/bridge/bench.hpp"

/// Another disk, or none, behind the LUN of a session that stays up.
using nbdgw::bridge::CacheEvent;
using nbdgw::bridge::ExportState;
using nbdgw::bridge::UnitNews;
using nbdgw::device::LogicalUnit;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::SenseKey;

namespace {

struct Code {
  SenseKey key;
  std::uint8_t asc, ascq;
};
constexpr Code kDoubts[] = {
    {SenseKey::unit_attention, 0x28, 0x00},  {SenseKey::unit_attention, 0x29, 0x00},
    {SenseKey::unit_attention, 0x29, 0x01},  {SenseKey::unit_attention, 0x29, 0x02},
    {SenseKey::unit_attention, 0x29, 0x03},  {SenseKey::unit_attention, 0x29, 0x04},
    {SenseKey::unit_attention, 0x29, 0x07},  {SenseKey::unit_attention, 0x3f, 0x03},
    {SenseKey::unit_attention, 0x3f, 0x05},  {SenseKey::unit_attention, 0x3f, 0x0e},
    {SenseKey::illegal_request, 0x25, 0x00}, {SenseKey::illegal_request, 0x25, 0x01},
};
FakeLun::Sense sense_of(const Code& code) {
  return make_sense(code.key, code.asc, code.ascq);
}

std::vector<CacheEvent::Kind> kinds(Bench& bench) {
  std::vector<CacheEvent::Kind> all;
  for (const CacheEvent& event : bench.unit_events()) all.push_back(event.kind);
  return all;
}
bool told(const std::vector<CacheEvent::Kind>& all, CacheEvent::Kind kind) {
  return std::find(all.begin(), all.end(), kind) != all.end();
}

/// To the next deadline.
void wait(Bench& bench) {
  REQUIRE(bench.target->next_deadline() != nbdgw::proto::kNever);
  bench.now = std::max(bench.now, bench.target->next_deadline());
  bench.target->on_deadline(bench.now);
  bench.deliver();
}

bool is_io(const FakeLun::Command& command) {
  return command.data_length >= 512 && (FakeLun::opcode(command) == 0x88 || FakeLun::opcode(command) == 0x8a);
}
bool any_io_waits(const Bench& bench) {
  return std::any_of(bench.lun.waiting.begin(), bench.lun.waiting.end(), [](auto* each) { return is_io(*each); });
}

}  // namespace

TEST_CASE("identity: each sign holds the export, and no byte goes to another disk") {
  for (const Code& code : kDoubts) {
    CAPTURE(static_cast<int>(code.asc));
    CAPTURE(static_cast<int>(code.ascq));
    Bench bench;
    bench.connect();
    bench.unit_events();
    std::vector<Reply*> replies;
    for (int i = 0; i < 3; ++i) replies.push_back(bench.write(4096 * i, 512, 0x55));
    REQUIRE(bench.lun.waiting.size() == 3);
    bench.lun.options.serial = "disk-2";
    bench.lun.refuse(1, sense_of(code), bench.now);
    bench.deliver();
    CHECK(bench.target->state() == ExportState::probing);
    CHECK(bench.target->status().reason.find("another disk") != std::string::npos);
    replies.push_back(bench.write(65536, 512, 0x55));
    replies.push_back(bench.read(65536, 512));
    CHECK(bench.lun.waiting.size() == 3);  // what was under way, and the probe
    for (Reply* reply : replies) CHECK_FALSE(reply->finished);
    bench.run();
    CHECK(bench.target->state() == ExportState::refused);
    CHECK(bench.lun.written == 2);  // nobody could know of these two
    for (Reply* reply : replies) {
      CHECK(reply->finished);  // not even the two: they are not on the disk that the client means
      CHECK(reply->error == Error::eio);
      CHECK(std::all_of(reply->data.begin(), reply->data.end(), [](std::uint8_t byte) { return byte == 0; }));
    }
    const auto events = kinds(bench);
    CHECK(told(events, CacheEvent::Kind::in_question));
    CHECK(told(events, CacheEvent::Kind::refused));
    CHECK(bench.target->counters().disbelieved == 2);

    bench.lun.options.serial = "disk-1";  // mapped back
    wait(bench);
    bench.run();
    CHECK(bench.target->state() == ExportState::online);
    Reply* const again = bench.write(0, 512, 0x66);
    bench.run();
    CHECK(again->error == Error::none);
    bench.check_idle();
  }
}

TEST_CASE("identity: an answer that is not believed uses up no retry") {
  nbdgw::bridge::ExportConfig config;
  config.retries = 1;
  Bench bench({}, config);
  bench.connect();
  Reply* const write = bench.write(0, 8192, 0x55);
  bench.write(65536, 512, 0x66);
  REQUIRE(bench.lun.waiting.size() == 2);
  bench.lun.refuse(1, make_sense(SenseKey::unit_attention, 0x3f, 0x03), bench.now);
  const FakeLun::Shortfall half{.moved = 4096, .residual = 4096, .recovered = false};
  bench.lun.complete_partly(0, half, bench.now);
  bench.deliver();
  while (!any_io_waits(bench)) {
    bench.lun.complete(0, bench.now);
    bench.deliver();
  }
  const auto again = std::ranges::find_if(bench.lun.waiting, [](auto* each) { return each->data_length == 8192; });
  REQUIRE(again != bench.lun.waiting.end());  // all of it
  bench.lun.complete_partly(static_cast<std::size_t>(again - bench.lun.waiting.begin()), half, bench.now);
  bench.deliver();
  bench.run();
  CHECK(write->finished);
  CHECK(write->error == Error::none);
  bench.check_idle();
}

TEST_CASE("identity: what was under way is sent again when it is the disk that it was, and nobody sees an error") {
  for (const Code& code : kDoubts) {
    Bench bench({}, {.power_on = nbdgw::bridge::PowerOnPolicy::ignore});
    bench.connect();
    bench.unit_events();
    std::vector<Reply*> writes;
    for (int i = 0; i < 8; ++i) writes.push_back(bench.write(4096 * i, 512, static_cast<std::uint8_t>(i + 1)));
    Reply* const read = bench.read(0, 512);
    Reply* const trim = bench.trim(1 << 20, 64 * 512);
    Reply* const flush = bench.flush();
    const std::size_t under_way = bench.lun.waiting.size();
    bench.lun.refuse(3, sense_of(code), bench.now);
    for (std::size_t i = 1; i < under_way; ++i) bench.lun.complete(0, bench.now);
    bench.deliver();
    for (Reply* reply : writes) CHECK_FALSE(reply->finished);
    CHECK_FALSE(read->finished);
    CHECK_FALSE(flush->finished);
    CHECK_FALSE(any_io_waits(bench));
    bench.run();
    CHECK(bench.target->state() == ExportState::online);
    for (Reply* reply : {writes[0], writes[3], writes[7], read, trim}) CHECK(reply->error == Error::none);
    const bool power_cycle = code.asc == 0x29 && (code.ascq == 0x01 || code.ascq == 0x04);
    CHECK(flush->error == Error::none);
    CHECK(flush->finished);
    for (int i = 0; i < 8; ++i) CHECK(bench.lun.disk[4096 * static_cast<std::size_t>(i)] == i + 1);
    CHECK(bench.target->counters().disbelieved == under_way - 1);
    CHECK(told(kinds(bench), CacheEvent::Kind::confirmed));
    CHECK(bench.target->counters().cache_loss_reports == (power_cycle ? 1 : 0));
    bench.check_idle();
  }
}

TEST_CASE("identity: what has no CmdSN yet is taken back") {
  Bench bench;
  bench.connect();
  Reply* const first = bench.write(0, 512, 1);
  bench.lun.window_closed = true;
  Reply* const second = bench.write(4096, 512, 2);
  REQUIRE(bench.lun.unsent.size() == 1);
  bench.lun.window_closed = false;
  bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x3f, 0x0e), bench.now);
  CHECK(bench.lun.unsent.empty());
  bench.lun.give_back(bench.now);
  bench.deliver();
  CHECK_FALSE(any_io_waits(bench));
  bench.run();
  CHECK(first->error == Error::none);
  CHECK(second->error == Error::none);
  CHECK(bench.lun.disk[4096] == 2);
  bench.check_idle();
}

TEST_CASE("identity: a LUN that is unmapped for 8 s is a pause") {
  Bench bench;
  bench.connect();
  Reply* const write = bench.write(0, 512, 7);
  bench.lun.options.absent = true;
  const auto began = bench.now;
  bench.run();
  CHECK(bench.target->state() == ExportState::offline);
  CHECK(bench.target->status().reason.find("no such unit") != std::string::npos);
  Reply* const read = bench.read(4096, 512);
  while (bench.now < began + 8 * kSecond) {
    wait(bench);
    if (bench.now >= began + 8 * kSecond) bench.lun.options.absent = false;
    bench.run();
  }
  CHECK(bench.target->state() == ExportState::online);
  CHECK(write->finished);
  CHECK(write->error == Error::none);
  CHECK(read->error == Error::none);
  CHECK(bench.lun.disk[0] == 7);
  CHECK(bench.target->counters().failed == 0);
  bench.check_idle();
}

TEST_CASE("identity: a LUN that stays away ends in an error when the hold is over") {
  Bench bench({}, {.hold_timeout = 20 * kSecond});
  bench.connect();
  Reply* const write = bench.write(0, 512, 7);
  bench.lun.options.absent = true;
  const auto began = bench.now;
  for (int i = 0; i < 20 && !write->finished; ++i) {
    bench.run();
    if (!write->finished) wait(bench);
  }
  CHECK(write->finished);
  CHECK(write->error == Error::eio);
  CHECK(bench.now <= began + 21 * kSecond);
  bench.run();
  bench.check_idle();
}

TEST_CASE("identity: signs without end come to an end") {
  for (const Code& code : kDoubts) {
    Bench bench;
    bench.connect();
    Reply* const reply = bench.write(0, 512, 7);
    int sent = 0;
    while (!reply->finished) {
      REQUIRE(++sent <= nbdgw::device::kMaxUnitAttentions + 1);
      REQUIRE(bench.lun.waiting.size() == 1);
      bench.lun.refuse(0, sense_of(code), bench.now);
      bench.deliver();
      while (!bench.lun.waiting.empty() && !any_io_waits(bench)) {
        bench.lun.complete(0, bench.now);
        bench.deliver();
      }
    }
    CHECK(reply->error == Error::eio);
    bench.run();
    CHECK(bench.target->state() == ExportState::online);
    bench.check_idle();
  }
}

TEST_CASE("identity: news by others while commands are under way, without end") {
  Bench bench;
  bench.connect();
  Reply* const reply = bench.write(0, 512, 7);
  int sent = 0;
  while (!reply->finished) {
    REQUIRE(++sent <= nbdgw::device::kMaxUnitAttentions + 1);
    bench.target->on_unit_event("the target reports an event", bench.now);
    CHECK(bench.target->state() == ExportState::probing);
    bench.lun.complete(0, bench.now);  // GOOD, of whichever disk
    bench.deliver();
    while (!reply->finished && !any_io_waits(bench)) {
      REQUIRE_FALSE(bench.lun.waiting.empty());
      bench.lun.complete(0, bench.now);
      bench.deliver();
    }
  }
  CHECK(reply->error == Error::eio);
  bench.run();
  bench.check_idle();
}

TEST_CASE("identity: an event of the target is looked into, and what it told is passed on to others") {
  Bench bench;
  bench.connect();
  CHECK(bench.target->take_news() == UnitNews::none);
  bench.target->on_unit_event("the target reports an event", bench.now);
  CHECK(bench.target->state() == ExportState::probing);
  CHECK(bench.target->take_news() == UnitNews::none);  // it came from others
  bench.run();
  CHECK(bench.target->state() == ExportState::online);

  bench.read(0, 512);
  bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x29, 0x00), bench.now);
  CHECK(bench.target->take_news() == UnitNews::unit);
  CHECK(bench.target->take_news() == UnitNews::none);
  bench.run();
  bench.read(0, 512);
  bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x3f, 0x0e), bench.now);
  CHECK(bench.target->take_news() == UnitNews::inventory);
  bench.run();

  bench.lose_session();
  bench.target->on_unit_event("late", bench.now);
  CHECK(bench.target->state() == ExportState::offline);
  bench.connect();
  bench.check_idle();
}

TEST_CASE("identity: a thin pool that runs low is told, and nothing else") {
  Bench bench;
  bench.connect();
  bench.unit_events();
  Reply* const write = bench.write(0, 512, 7);
  bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x38, 0x07), bench.now);
  CHECK(bench.target->state() == ExportState::online);
  CHECK(bench.target->counters().threshold_reports == 1);
  const auto events = bench.unit_events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == CacheEvent::Kind::threshold);
  CHECK(events[0].cause.find("38/07") != std::string::npos);
  bench.run();
  CHECK(write->error == Error::none);
  // However many commands hear of it, it is told once in a while.
  const auto again = [&] {
    bench.write(0, 512, 7);
    bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x38, 0x07), bench.now);
    bench.run();
    return bench.unit_events().size();
  };
  CHECK(again() == 0);
  bench.now += nbdgw::bridge::kThresholdInterval;
  CHECK(again() == 1);
  CHECK(bench.target->counters().threshold_reports == 3);
  bench.check_idle();
}

TEST_CASE("identity: a login at which the disk does not say who it is does not make any disk acceptable") {
  Bench bench;
  bench.connect();
  bench.lose_session();
  bench.lun.options.tells_serial = false;
  bench.lun.options.serial = "disk-2";
  bench.target->on_session_up(0, bench.now);
  Reply* const write = bench.write(0, 512, 7);
  bench.run();
  CHECK(bench.target->state() == ExportState::offline);
  CHECK(bench.target->status().reason.find("does not say which unit it is") != std::string::npos);
  wait(bench);
  bench.run();
  CHECK(bench.target->state() == ExportState::offline);  // asked again
  CHECK_FALSE(write->finished);
  bench.lun.options.tells_serial = true;
  SUBCASE("it is another one") {
    wait(bench);
    bench.run();
    CHECK(bench.target->state() == ExportState::refused);
    CHECK(write->error == Error::eio);
    CHECK(bench.lun.written == 0);
  }
  SUBCASE("it is the same") {
    bench.lun.options.serial = "disk-1";
    wait(bench);
    bench.run();
    CHECK(bench.target->state() == ExportState::online);
    CHECK(write->error == Error::none);
  }
  bench.check_idle();
}

TEST_CASE("identity: the next process, or the export in its place, knows who the disk was") {
  Bench first;
  first.connect();
  const auto legacy = first.target->cache_legacy(first.now);
  CHECK(legacy.disk.serial == "disk-1");
  CHECK(legacy.path_was_up);

  Bench second({.serial = "disk-1", .tells_serial = false});
  second.target->inherit(legacy);
  CHECK(second.target->cache_legacy(second.now).disk.serial == "disk-1");  // also when nobody has looked yet
  second.target->on_session_up(0, second.now);
  second.run();
  CHECK(second.target->state() == ExportState::offline);
  second.lun.options.tells_serial = true;
  wait(second);
  second.run();
  CHECK(second.target->state() == ExportState::online);
  CHECK(second.target->info().disk.serial == "disk-1");

  // A gateway that is started anew serves what is there. Clients of before are compared one by one.
  Bench third({.serial = "disk-2"});
  third.target->inherit(legacy);
  third.connect();
  CHECK(third.target->info().disk.serial == "disk-2");
}
