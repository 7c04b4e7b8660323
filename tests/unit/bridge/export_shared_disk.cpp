#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

/// Two exports of one disk.
using nbdgw::bridge::CacheEvent;
using nbdgw::bridge::DiskDirectory;
using nbdgw::bridge::Export;
using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::ExportState;
using nbdgw::bridge::SameDiskPolicy;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::SenseKey;

namespace {

/// Whoever enters serves the same disk.
struct OneDisk final : DiskDirectory {
  Others enter(const Export& exported, const nbdgw::proto::DiskIdentity& identity) override {
    CHECK(identity.known());
    if (std::ranges::find(exports, &exported) == exports.end()) exports.push_back(&exported);
    Others others;
    for (const Export* other : exports) {
      if (other == &exported) continue;
      (apart ? others.apart : others.together) = other->info().name;
      if (!apart) others.disk = other->disk();
    }
    return others;
  }
  void leave(const Export& exported) noexcept override { std::erase(exports, &exported); }

  std::vector<const Export*> exports;
  bool apart = false;
};

ExportConfig named(const char* name, SameDiskPolicy policy = SameDiskPolicy::share) {
  ExportConfig config;
  config.name = name;
  config.same_disk = policy;
  config.hold_timeout = 20 * kSecond;
  return config;
}

struct Pair {
  explicit Pair(LunOptions options = {})
      : one(options, named("one"), 1 << 24, &directory), two(options, named("two"), 1 << 24, &directory) {
    one.connect();
    two.connect();
  }
  OneDisk directory;
  Bench one, two;
};

}  // namespace

TEST_CASE("shared disk: overlapping writes wait for each other, whichever export they come by") {
  Pair pair;
  CHECK(pair.one.target->disk() == pair.two.target->disk());
  CHECK(pair.two.target->same_disk().empty());
  pair.one.write(0, 4096, 1);
  REQUIRE(pair.one.lun.waiting.size() == 1);
  Reply* const behind = pair.two.write(512, 512, 2);
  Reply* const third = pair.one.write(512, 512, 3);
  Reply* const elsewhere = pair.two.write(8192, 512, 2);
  CHECK(pair.two.lun.waiting.size() == 1);
  pair.two.run();
  CHECK(elsewhere->finished);
  CHECK_FALSE(behind->finished);
  CHECK_FALSE(pair.two.bell.rung());
  pair.one.run();
  CHECK(pair.two.bell.rung());
  CHECK_FALSE(third->finished);
  pair.two.run();
  CHECK(behind->error == Error::none);
  CHECK(pair.one.bell.rung());
  pair.one.run();
  CHECK(third->error == Error::none);
  pair.one.check_idle();
  pair.two.check_idle();
}

TEST_CASE("shared disk: a FLUSH by either covers the writes of both, and a lost cache is told by both, once") {
  for (const bool same_side : {false, true}) {
    CAPTURE(same_side);
    Pair pair;
    pair.one.write(0, 512, 1);
    pair.one.run();
    CHECK(pair.two.target->cache().unflushed() == 1);
    pair.two.flush();
    pair.two.run();
    CHECK(pair.one.target->cache().unflushed() == 0);
    pair.one.write(0, 512, 1);
    pair.one.run();
    // The other session hears of it.
    pair.two.lun.power_loss();
    pair.two.read(0, 512);
    pair.two.run();
    for (const bool first : {true, false}) {
      for (Bench* bench : {same_side ? &pair.one : &pair.two, same_side ? &pair.two : &pair.one}) {
        Reply* const flush = bench->flush();
        bench->run();
        CHECK(flush->error == (first ? Error::eio : Error::none));
      }
    }
  }
}

TEST_CASE("shared disk: flushes of both may be under way, and end in any order") {
  Pair pair;
  pair.one.write(0, 512, 1);
  pair.one.run();
  Reply* const early = pair.one.flush();
  pair.two.write(4096, 512, 1);
  pair.two.run();
  CHECK(pair.two.target->cache().unflushed() == 2);
  Reply* const late = pair.two.flush();
  pair.two.run();
  CHECK(late->error == Error::none);
  CHECK(pair.two.target->cache().unflushed() == 0);
  pair.one.run();
  CHECK(early->error == Error::none);
  CHECK(pair.two.target->cache().unflushed() == 0);
}

TEST_CASE("shared disk: what waits behind a write without a proof, by another export, is answered in its time") {
  Pair pair;
  Reply* const stuck = pair.one.write(0, 4096, 1);
  Reply* const before = pair.two.write(0, 512, 2);  // it waits already when the other one gets stuck
  pair.one.lun.disrupt_and_hold(pair.one.now);
  pair.two.deliver();
  CHECK_FALSE(pair.two.bell.rung());
  pair.one.target->on_session_down("the other controller", pair.one.now);
  CHECK(pair.two.bell.rung());
  pair.one.deliver();
  pair.two.deliver();
  Reply* const after = pair.two.write(512, 512, 2);
  for (Bench* bench : {&pair.one, &pair.two}) {
    while (bench->target->next_deadline() <= bench->now + 60 * kSecond) {
      bench->now = std::max(bench->now, bench->target->next_deadline());
      bench->target->on_deadline(bench->now);
      bench->run();
    }
  }
  for (Reply* reply : {stuck, before, after}) {
    REQUIRE(reply->finished);
    CHECK(reply->error == Error::eio);
  }
  CHECK(pair.two.lun.log.back() != 0x8a);
  pair.one.connect();
  while (!pair.one.lun.held.empty()) pair.one.lun.later(0, pair.one.now);
  pair.one.run();
  pair.two.deliver();
  Reply* const then = pair.two.write(0, 4096, 3);
  pair.two.run();
  CHECK(then->error == Error::none);
  pair.one.check_idle();
  pair.two.check_idle();
}

TEST_CASE("shared disk: two exports that are both stuck do not wake each other for ever") {
  Pair pair;
  pair.one.write(0, 512, 1);
  pair.two.write(8192, 512, 2);
  for (Bench* bench : {&pair.one, &pair.two}) {
    bench->lun.disrupt_and_hold(bench->now);
    bench->target->on_session_down("the other controller", bench->now);
  }
  int rounds = 0;
  for (bool woken = true; woken; ++rounds) {
    REQUIRE(rounds < 10);
    woken = false;
    for (Bench* bench : {&pair.one, &pair.two}) {
      bench->deliver();
      bench->events();
      woken = bench->target->wants_turn() || woken;
    }
  }
  for (Bench* bench : {&pair.one, &pair.two}) {
    bench->connect();
    while (!bench->lun.held.empty()) bench->lun.later(0, bench->now);
    bench->run();
    bench->check_idle();
  }
}

TEST_CASE("shared disk: an export that goes leaves the disk to the other one") {
  Pair pair;
  pair.one.write(0, 512, 1);
  pair.one.run();
  pair.one.target.reset();
  CHECK(pair.directory.exports.size() == 1);
  CHECK(pair.two.target->cache().unflushed() == 1);
  Reply* const write = pair.two.write(0, 512, 2);
  pair.two.run();
  CHECK(write->error == Error::none);
}

TEST_CASE("shared disk: what was unflushed before it was known to be shared stays so") {
  OneDisk directory;
  Bench one({}, named("one"), 1 << 24, &directory);
  one.connect();
  Bench before({}, named("two"));
  before.connect();
  before.write(0, 512, 1);
  before.run();
  Bench two({}, named("two"), 1 << 24, &directory);
  two.target->inherit(before.target->cache_legacy(before.now));
  two.connect();
  CHECK(one.target->cache().unflushed() == 1);
}

TEST_CASE("shared disk: who is owed something is owed it by the disk that it is found to share, and once") {
  OneDisk directory;
  Bench one({}, named("one"), 1 << 24, &directory);
  one.connect();
  one.attach();
  OneDisk another;
  Bench two({}, named("two"), 1 << 24, &another);
  two.connect();
  two.write(0, 512, 1);
  two.run();
  two.attach();
  two.lun.power_loss();
  two.read(0, 512);
  two.run();
  two.detach(1);  // a debt is left, and one is owed
  CHECK(two.target->cache().debts() == 2);
  const auto flush = [](Bench& bench) {
    Reply* const reply = bench.flush();
    bench.run();
    return reply->error;
  };
  two.asks = 0;
  SUBCASE("moved") {
    one.target->on_unit_reset(one.now);
    another.exports.insert(another.exports.begin(), one.target.get());
    two.target->on_unit_reset(two.now);
    two.run();
    one.run();
    REQUIRE(one.target->disk() == two.target->disk());
    CHECK(one.target->cache().debts() == 2);
    CHECK(flush(two) == Error::eio);
    CHECK(flush(two) == Error::none);
    CHECK(flush(one) == Error::eio);  // it has attached, and was not there at the loss
    CHECK(flush(one) == Error::none);
    std::erase(another.exports, one.target.get());
  }
  SUBCASE("an export that goes leaves what is owed to the other one") {
    const auto disk = two.target->disk();
    CHECK(disk->exports.size() == 1);
    two.clients.clear();
    CHECK(disk->cache.debts() == 2);
  }
}

TEST_CASE("same disk: where it cannot be shared, that is told") {
  OneDisk directory;
  directory.apart = true;
  Bench one({}, named("one"), 1 << 24, &directory);
  Bench two({}, named("two"), 1 << 24, &directory);
  one.connect();
  two.connect();
  CHECK(one.target->disk() != two.target->disk());
  CHECK(two.target->same_disk() == "one");
  auto events = two.unit_events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == CacheEvent::Kind::same_disk);
  CHECK(events[0].cause == "one");
  two.target->on_unit_reset(two.now);  // probed again: no news
  two.run();
  CHECK(two.unit_events().empty());
  one.target.reset();
  two.target->on_unit_reset(two.now);
  two.run();
  CHECK(two.target->same_disk().empty());
}

TEST_CASE("same disk: refused for as long as the other one is there") {
  for (const bool apart : {false, true}) {
    OneDisk directory;
    directory.apart = apart;
    Bench one({}, named("one"), 1 << 24, &directory);
    Bench two({}, named("two", SameDiskPolicy::refuse), 1 << 24, &directory);
    one.connect();
    two.target->on_session_up(0, two.now);
    two.run();
    CHECK(two.target->state() == ExportState::refused);
    CHECK(two.target->status().reason.find("one") != std::string::npos);
    CHECK_FALSE(two.target->known());
    CHECK(directory.exports.size() == 1);
    one.target.reset();
    two.now = two.target->next_deadline();
    two.target->on_deadline(two.now);
    two.run();
    CHECK(two.target->state() == ExportState::online);
  }
}
