// What a reload of the configuration does to an export: other values in place, and the heir of one that goes.
#include <doctest/doctest.h>

#include <algorithm>
#include <utility>

#include "proto/scsi/sense.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::kPowerCycleTime;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;

namespace {

constexpr const char* kLost = "the target may have lost writes that were acknowledged and not flushed";

/// What the bench's export was made with, but for what is given.
void retune(Bench& bench, ExportConfig config) {
  config.name = "vol0";
  bench.target->retune(config, bench.now);
  bench.deliver();
}

void cached_write(Bench& bench) {
  Reply* const reply = bench.write(0, 512, 1);
  bench.run();
  REQUIRE(reply->error == Error::none);
}

Reply* flush(Bench& bench) {
  Reply* const reply = bench.flush();
  bench.run();
  REQUIRE(reply->finished);
  return reply;
}

void to_deadline(Bench& bench) {
  bench.now = std::max(bench.now, bench.target->next_deadline());
  bench.target->on_deadline(bench.now);
  bench.deliver();
}

}  // namespace

TEST_CASE("retune: a larger queue depth sends what waits, a smaller one lets what is out come back first") {
  Bench bench({}, {.queue_depth = 2});
  bench.connect();
  for (std::uint32_t i = 0; i < 8; ++i) bench.read(i * 512, 512);
  bench.deliver();
  REQUIRE(bench.lun.waiting.size() == 2);
  retune(bench, {.queue_depth = 5});
  CHECK(bench.lun.waiting.size() == 5);
  retune(bench, {.queue_depth = 1});
  CHECK(bench.lun.waiting.size() == 5);
  for (int i = 0; i < 4; ++i) bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(bench.lun.waiting.size() == 1);
  bench.run();
  bench.check_idle();
}

TEST_CASE("retune: a depth that the target has lowered is not raised by the configuration") {
  nbdgw::bridge::CommandQueue queue(8);
  queue.lower_depth(0);  // nothing is lent: down to 1
  queue.configure_depth(16);
  CHECK(queue.depth() == 1);
  nbdgw::bridge::CommandQueue fresh(8);
  fresh.configure_depth(16);
  CHECK(fresh.depth() == 16);
  fresh.configure_depth(4);
  CHECK(fresh.depth() == 4);
}

TEST_CASE("retune: how long requests are held counts from the loss of the path, by the new value") {
  Bench bench({}, {.hold_timeout = 30 * kSecond});
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  bench.lose_session();
  const auto since = bench.now;
  retune(bench, {.hold_timeout = 10 * kSecond});
  CHECK(bench.target->next_deadline() == since + 10 * kSecond);
  SUBCASE("the time is up earlier") {
    bench.now = since + 10 * kSecond;
    to_deadline(bench);
    CHECK(write->error == Error::eio);
    // And with more time than that, what comes now is held again.
    retune(bench, {.hold_timeout = kNever});
    Reply* const held = bench.read(0, 512);
    bench.deliver();
    CHECK_FALSE(held->finished);
    retune(bench, {.hold_timeout = 20 * kSecond});
    CHECK(bench.target->next_deadline() == since + 20 * kSecond);
    bench.connect();
    CHECK(held->error == Error::none);
  }
  SUBCASE("the session is back in time") {
    bench.connect();
    CHECK(write->error == Error::none);
  }
  bench.check_idle();
}

TEST_CASE("retune: the description is told to those who come") {
  Bench bench;
  bench.connect();
  retune(bench, {.description = "another"});
  CHECK(bench.target->info().description == "another");
}

TEST_CASE("heir: writes that were not flushed before it stay in question") {
  Bench old;
  old.connect();
  cached_write(old);
  Bench heir;

  SUBCASE("nothing has happened to them") {
    heir.target->inherit(old.target->cache_legacy(old.now));
    heir.connect();
    CHECK(heir.target->cache().unflushed() == 1);
    CHECK(flush(heir)->error == Error::none);
    CHECK(heir.target->cache().unflushed() == 0);
  }
  SUBCASE("the old export knows that they may be lost, and had nobody to tell") {
    old.lun.power_loss();
    old.lose_session();
    old.connect(10 * kSecond);
    REQUIRE(old.target->cache().doubtful() == 1);
    old.detach(0);
    heir.target->inherit(old.target->cache_legacy(old.now));
    heir.connect();
    Reply* const failed = flush(heir);
    CHECK(failed->error == Error::eio);
    CHECK(failed->text == kLost);
    const auto events = heir.events();
    REQUIRE(events.size() == 1);
    CHECK(events[0].cause.find("before") != std::string::npos);
    CHECK(flush(heir)->error == Error::none);
  }
  SUBCASE("a power on between the two is the login's, unless the target was away for long enough") {
    for (const auto& [away, error] : {std::pair(kPowerCycleTime - 1, Error::none), {kPowerCycleTime, Error::eio}}) {
      CAPTURE(away);
      Bench next;
      next.target->inherit(old.target->cache_legacy(next.now - away));
      next.lun.attentions.push_back(make_sense(nbdgw::proto::scsi::SenseKey::unit_attention, 0x29, 0x00));
      next.connect();
      CHECK(flush(next)->error == error);
      CHECK(flush(next)->error == Error::none);
    }
  }
  SUBCASE("the path was lost before the old export went: it is from then that it counts") {
    old.lose_session();
    const auto lost_at = old.now;
    CHECK(old.target->cache_legacy(lost_at + 60 * kSecond).seen_at == lost_at);
  }
}

TEST_CASE("heir: of commands that write and were with the target at the end it tells the session") {
  for (const bool writes : {true, false}) {
    CAPTURE(writes);
    Bench old;
    old.connect();
    Reply* const reply = writes ? old.write(0, 512, 1) : old.read(0, 512);
    REQUIRE(old.lun.waiting.size() == 1);
    CHECK(old.target->leaves_writes());  // not over, and nobody knows what it will come to
    old.lun.waiting[0]->started_at = old.now;
    old.lun.lose_path(old.now);
    old.deliver();
    CHECK(reply->error == Error::eio);
    CHECK(old.target->leaves_writes() == writes);
    old.lun.left = {{.group = {.tag = 7, .portal = {}, .address = {}}, .acknowledged = false}};
    Bench heir;
    heir.target->inherit(old.target->cache_legacy(old.now));
    CHECK(heir.lun.suspected.size() == (writes ? 1 : 0));
    REQUIRE(heir.lun.left.size() == (writes ? 1 : 0));
    if (writes) CHECK(heir.lun.left[0].group.tag == 7);
  }
}
