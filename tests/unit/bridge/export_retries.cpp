// What becomes of commands that the escalation ladder has ended, and of those that wait for a path.
#include <algorithm>

#include <doctest/doctest.h>

#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::ExportState;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;
namespace scsi = nbdgw::proto::scsi;

namespace {

/// Runs deadlines until a command waits with the LUN.
void until_sent(Bench& bench) {
  for (int i = 0; i < 100 && bench.lun.waiting.empty(); ++i) {
    const auto next = bench.target->next_deadline();
    REQUIRE(next != kNever);
    bench.now = std::max(bench.now, next);
    bench.target->on_deadline(bench.now);
  }
  REQUIRE_FALSE(bench.lun.waiting.empty());
}

/// The session is lost while the first waiting command is overdue, and comes back.
void lose_session_for_the_first(Bench& bench) {
  bench.lun.waiting.at(0)->overdue = true;
  bench.lose_session();
  bench.target->on_session_up(0, bench.now);
  // The probe is answered, and nothing else.
  while (!bench.lun.waiting.empty() && bench.target->state() == ExportState::probing) {
    bench.lun.complete(0, bench.now);
  }
  bench.deliver();
}

}  // namespace

TEST_CASE("retries: an aborted write is sent again inside the fence") {
  Bench bench;
  bench.connect();
  bench.lun.log.clear();
  Reply* const first = bench.write(0, 512, 1);
  Reply* const second = bench.write(0, 512, 2);  // overlaps
  Reply* const beside = bench.write(512, 512, 3);
  REQUIRE(bench.lun.waiting.size() == 2);
  const FakeLun::Command* const aborted = bench.lun.waiting[0];
  bench.lun.abort(0, true, bench.now);
  bench.deliver();
  CHECK_FALSE(first->finished);
  REQUIRE(bench.lun.waiting.size() == 2);  // again at once, and nothing of the second
  CHECK(bench.lun.waiting[1] == aborted);
  bench.lun.abort(1, true, bench.now);
  CHECK(bench.lun.waiting.size() == 1);  // this time with a pause, in which the second one waits on
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(beside->error == Error::none);
  until_sent(bench);
  REQUIRE(bench.lun.waiting.size() == 1);
  CHECK(bench.lun.waiting[0] == aborted);
  bench.run();
  CHECK(first->error == Error::none);
  CHECK(second->error == Error::none);
  CHECK(bench.lun.disk[0] == 2);
  bench.check_idle();
}

TEST_CASE("retries: as many as configured, then an error and the fence opens") {
  for (const std::uint8_t retries : std::initializer_list<std::uint8_t>{1, 3, 5, 100}) {
    CAPTURE(retries);
    Bench bench({}, {.retries = retries});
    bench.connect();
    Reply* const write = bench.write(0, 512, 1);
    Reply* const behind = bench.write(0, 512, 2);
    int sent = 0;
    for (; !write->finished && sent < 1000; ++sent) {
      until_sent(bench);
      REQUIRE(bench.lun.waiting.size() == 1);
      bench.lun.abort(0, true, bench.now);
      bench.deliver();
    }
    CHECK(sent == retries + 1);
    CHECK(write->error == Error::eio);
    CHECK(write->text == "the target does not answer the command, however often it is sent");
    bench.run();
    CHECK(behind->error == Error::none);
    bench.check_idle();
  }
}

TEST_CASE("retries: who only suffers from others' troubles is not counted") {
  Bench bench({}, {.retries = 1});
  bench.connect();
  Reply* const read = bench.read(0, 512);
  for (int i = 0; i < 50; ++i) {
    REQUIRE(bench.lun.waiting.size() == 1);
    if (i % 2 == 0) {
      bench.lun.abort(0, false, bench.now);
    } else {
      bench.lose_session();
      bench.target->on_session_up(0, bench.now);
      while (bench.target->state() == ExportState::probing) bench.lun.complete(0, bench.now);
      bench.deliver();
    }
    CHECK_FALSE(read->finished);
  }
  bench.run();
  CHECK(read->error == Error::none);
  bench.check_idle();
}

TEST_CASE("retries: a command that brings the session down again and again comes to an end") {
  Bench bench({}, {.retries = 3});
  bench.connect();
  Reply* const poison = bench.write(0, 512, 1);
  Reply* const victim = bench.read(4096, 512);
  for (int i = 0; i < 3; ++i) {
    lose_session_for_the_first(bench);
    CHECK_FALSE(poison->finished);
    // Which of the two is first does not matter, nor whether they come one by one; the poison must be the one that is
    // overdue.
    while (FakeLun::opcode(*bench.lun.waiting.at(0)) != 0x8a) {
      if (bench.lun.waiting.size() > 1) {
        std::swap(bench.lun.waiting[0], bench.lun.waiting[1]);
      } else {
        bench.lun.complete(0, bench.now);
      }
    }
  }
  bench.lun.waiting[0]->overdue = true;
  bench.lose_session();
  CHECK(poison->finished);
  CHECK(poison->error == Error::eio);
  CHECK(bench.lun.waiting.empty());
  bench.connect();
  CHECK(victim->error == Error::none);
  bench.check_idle();
}

TEST_CASE(
    "retries: the one that is given up with the session opens the fence, but nothing is sent before the login") {
  Bench bench({}, {.retries = 1});
  bench.connect();
  Reply* const poison = bench.write(0, 512, 1);
  Reply* const behind = bench.write(0, 512, 2);
  lose_session_for_the_first(bench);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lun.waiting[0]->overdue = true;
  // The session hands its commands back before it tells that it is gone.
  bench.lun.disrupt([](const FakeLun::Command&) { return false; }, bench.now);
  bench.deliver();
  CHECK(poison->error == Error::eio);
  CHECK(bench.target->state() == ExportState::offline);
  CHECK(bench.lun.waiting.empty());
  bench.target->on_session_down("test", bench.now);
  bench.deliver();
  CHECK(bench.lun.waiting.empty());
  CHECK_FALSE(behind->finished);
  bench.connect();
  CHECK(behind->error == Error::none);
  CHECK(bench.lun.disk[0] == 2);
  bench.check_idle();
}

TEST_CASE("retries: unit attentions of our own resets do not wear a command out") {
  Bench bench;
  bench.connect();
  Reply* const read = bench.read(0, 512);
  for (int reset = 0; reset < 60; ++reset) {
    // What the reset has ended is sent again, the reset is told of, and the attention is met by who comes first.
    bench.lun.abort(0, false, bench.now);
    bench.target->on_unit_reset(bench.now);
    REQUIRE(bench.lun.waiting.size() == 2);
    bench.lun.refuse(0, make_sense(scsi::SenseKey::unit_attention, 0x29, 0x00), bench.now);
    REQUIRE(bench.lun.waiting.size() == 1);  // it waits for the probe
    while (bench.target->state() == ExportState::probing) bench.lun.complete(0, bench.now);
    bench.deliver();
    CHECK_FALSE(read->finished);
    REQUIRE(bench.lun.waiting.size() == 1);
  }
  bench.run();
  CHECK(read->error == Error::none);

  // Without a reset they have their limit.
  Reply* const never = bench.read(0, 512);
  for (int i = 0; i < 100 && !never->finished; ++i) {
    bench.lun.refuse(0, make_sense(scsi::SenseKey::unit_attention, 0x29, 0x00), bench.now);
    while (bench.target->state() == ExportState::probing) bench.lun.complete(0, bench.now);
    bench.deliver();
  }
  CHECK(never->error == Error::eio);
  bench.check_idle();
}

TEST_CASE("reset: the LUN is probed before its requests go on, for its cache may be another one now") {
  Bench bench;
  bench.connect();
  bench.lun.options.write_cache = false;
  bench.target->on_unit_reset(bench.now);
  Reply* const write = bench.write(0, 512, 1);
  REQUIRE(bench.lun.waiting.size() == 1);
  CHECK(FakeLun::opcode(*bench.lun.waiting[0]) == 0x00);
  bench.run();
  CHECK(write->error == Error::none);
  CHECK(bench.target->cache().unflushed() == 0);
  bench.check_idle();
}

TEST_CASE("reset: told while there is no session, it changes nothing") {
  Bench bench;
  bench.connect();
  bench.lose_session();
  bench.target->on_unit_reset(bench.now);
  CHECK(bench.target->state() == ExportState::offline);
  CHECK(bench.lun.waiting.empty());
  bench.connect();
  bench.check_idle();
}

TEST_CASE("path: on_path_loss: hold never fails for want of a path") {
  Bench bench({}, {.hold_timeout = kNever});
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  bench.lose_session();
  Reply* const flush = bench.flush();
  CHECK(bench.target->next_deadline() == kNever);
  bench.now += 30LL * 24 * 3600 * kSecond;
  bench.target->on_deadline(bench.now);
  bench.deliver();
  CHECK_FALSE(write->finished);
  CHECK_FALSE(flush->finished);
  bench.connect(30LL * 24 * 3600 * kSecond);
  CHECK(write->error == Error::none);
  CHECK(flush->error == Error::none);
  CHECK(bench.target->counters().hold_timeouts == 0);
  bench.check_idle();
}

TEST_CASE("path: what failed for want of a path is never sent, and what comes after it only after the login") {
  Bench bench({}, {.hold_timeout = 30 * kSecond});
  bench.connect();
  Reply* const lost = bench.write(0, 512, 1);
  Reply* const behind = bench.write(0, 512, 2);
  bench.lose_session();
  bench.now += 30 * kSecond;
  bench.target->on_deadline(bench.now);
  bench.deliver();
  CHECK(lost->error == Error::eio);
  CHECK(behind->error == Error::eio);
  const std::size_t sent = bench.lun.sent;
  Reply* const later = bench.write(0, 512, 3);
  bench.deliver();
  CHECK(later->error == Error::eio);
  CHECK(bench.lun.sent == sent);
  bench.lun.log.clear();
  bench.connect();
  CHECK(std::count(bench.lun.log.begin(), bench.lun.log.end(), std::uint8_t{0x8a}) == 0);
  bench.check_idle();
}
