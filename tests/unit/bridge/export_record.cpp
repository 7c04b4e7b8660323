// What an export keeps for the next process, should this one die without a word.
#include <doctest/doctest.h>

#include <cstring>
#include <memory>

#include "gateway/bridge/attached.hpp"
#include "proto/scsi/sense.hpp"
#include "tests/unit/bridge/bench.hpp"

using namespace nbdgw;
using bridge::CacheEvent;
using bridge::LunRecord;
using nbd::LossStanding;
using proto::kSecond;
using proto::nbd::Error;

namespace {

std::unique_ptr<LunRecord> blank() {
  auto record = std::make_unique<LunRecord>();
  std::memset(static_cast<void*>(record.get()), 0, sizeof *record);
  return record;
}

initiator::PortalGroup group(std::uint16_t tag) {
  return {.tag = tag, .portal = {.host = "192.0.2.1", .port = 3260}, .address = "192.0.2.1"};
}

/// An export that counts in a record.
struct Recorded {
  Recorded() { bench.target->record_in(record.get()); }

  void login(std::uint16_t tag) {
    bench.target->on_session_at(group(tag));
    bench.connect();
  }
  std::unique_ptr<LunRecord> record = blank();  // outlives the export
  Bench bench;
};

}  // namespace

TEST_CASE("record: a write that is with the target is counted until it is over, and a read is not") {
  Recorded recorded;
  Bench& bench = recorded.bench;
  recorded.login(1);
  bench.read(0, 512);
  bench.deliver();
  CHECK(recorded.record->writing == 0);
  bench.run();
  bench.write(0, 512, 1);
  bench.deliver();
  CHECK(recorded.record->writing == 1);
  CHECK(recorded.record->cache.acknowledged == 0);
  SUBCASE("it ends") {
    bench.run();
  }
  SUBCASE("it comes back, and is sent again") {
    bench.lose_session();
    CHECK(recorded.record->writing == 0);
    bench.now += kSecond;
    recorded.login(1);
    bench.run();
  }
  CHECK(recorded.record->writing == 0);
  CHECK(recorded.record->cache.unflushed() == 1);
  bench.flush();
  bench.run();
  CHECK(recorded.record->cache.unflushed() == 0);
}

TEST_CASE("record: one that the end of the session has left stays counted") {
  Recorded recorded;
  Bench& bench = recorded.bench;
  recorded.login(1);
  bench.write(0, 512, 1);
  bench.deliver();
  bench.lun.waiting.at(0)->started_at = bench.now;
  bench.lun.lose_path(bench.now);
  bench.deliver();
  CHECK(recorded.record->writing == 1);
}

TEST_CASE("record: which disk it is, where the session is, and when it was seen last") {
  Recorded recorded;
  Bench& bench = recorded.bench;
  CHECK_FALSE(recorded.record->disk().known());
  recorded.login(7);
  CHECK(recorded.record->disk() == bench.target->unit().identity());
  CHECK(recorded.record->disk().known());
  REQUIRE(recorded.record->place(0));
  CHECK(recorded.record->place(0)->tag == 7);
  CHECK_FALSE(recorded.record->place(1));
  const auto seen = bench.now += 5 * kSecond;
  bench.target->on_heard(seen);
  CHECK(recorded.record->seen_at == seen);
  bench.lose_session();
  bench.target->on_heard(seen + kSecond);  // a login that has not led to the LUN yet
  CHECK(recorded.record->seen_at == seen);
}

TEST_CASE("record: where writes may be left elsewhere, the former group stays beside the present one") {
  Recorded recorded;
  Bench& bench = recorded.bench;
  recorded.login(1);
  SUBCASE("nothing was under way") {
    bench.target->on_session_down("lost", bench.now);
    recorded.login(2);
    CHECK_FALSE(recorded.record->place(1));
  }
  SUBCASE("a write was") {
    bench.write(0, 512, 1);
    bench.deliver();
    bench.target->on_session_down("lost", bench.now);
    bench.lun.left = {{.group = group(1)}};  // the session holds it
    bench.target->on_session_at(group(2));
    REQUIRE(recorded.record->place(1));
    CHECK(recorded.record->place(1)->tag == 1);
    bench.target->on_session_up(0, bench.now);
    bench.run();
    bench.lun.left.clear();
    bench.target->on_session_down("lost", bench.now);
    recorded.login(2);
    CHECK_FALSE(recorded.record->place(1));
  }
  CHECK(recorded.record->place(0)->tag == 2);
}

TEST_CASE("record: a session that may have been told of a loss, and has died before it could heed that") {
  Recorded recorded;
  Bench& bench = recorded.bench;
  recorded.login(1);
  CHECK(recorded.record->unjudged == 0);
  bench.target->on_session_down("lost", bench.now);
  bench.target->on_session_up(0, bench.now);
  CHECK(recorded.record->unjudged == 1);
  bench.run();
  CHECK(recorded.record->unjudged == 0);

  for (const bool unflushed : {true, false}) {
    Bench heir;
    const bridge::CacheLegacy legacy{.cache = {.acknowledged = 3, .flushed = unflushed ? 2U : 3U},
                                     .seen_at = heir.now,
                                     .absent = {{.token = "one", .owed = false}},
                                     .unjudged = true};
    heir.target->inherit(legacy);
    heir.connect();
    const auto one = heir.target->attach({.token = "one", .again = true});
    CHECK((one->standing() == LossStanding::owed) == unflushed);
  }
}

TEST_CASE("record: what a process before has left is passed on until it is proven to be over") {
  const bridge::CacheLegacy legacy{.cache = {}, .seen_at = 77, .writes_left = true, .left = {{.group = group(5)}}};
  Bench heir;
  heir.target->inherit(legacy);
  heir.lun.still_suspects = true;
  auto record = blank();
  heir.target->record_in(record.get());
  CHECK(record->left_before == 1);
  CHECK(record->seen_at == 77);
  REQUIRE(record->place(1));  // this process may die before its first login
  CHECK(record->place(1)->tag == 5);
  REQUIRE(heir.lun.left.size() == 1);
  CHECK(heir.lun.left[0].group.tag == 5);
  CHECK_FALSE(heir.lun.left[0].acknowledged);
  heir.connect();
  CHECK(record->left_before == 1);
  heir.lun.still_suspects = false;
  heir.target->on_session_down("lost", heir.now);
  heir.connect();
  CHECK(record->left_before == 0);
  heir.target.reset();
}

TEST_CASE("record: a client that comes back and is not known is owed a failing FLUSH, and that is told") {
  Bench bench;
  bench.connect();
  const auto known = bench.target->attach({.token = "one"});
  CHECK(known->standing() == LossStanding::newcomer);
  CHECK(bench.events().empty());
  const auto unknown = bench.target->attach({.token = "two", .again = true});
  CHECK(unknown->standing() == LossStanding::owed);
  CHECK(known->standing() == LossStanding::newcomer);
  const auto events = bench.events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == CacheEvent::Kind::in_doubt);
  CHECK(events[0].cause.find("nothing is known here of what it wrote") != std::string::npos);
}

TEST_CASE("record: who has lost a connection is waited for, who has said goodbye is not") {
  Bench bench;
  bench.connect();
  for (const bool lost : {true, false}) {
    auto client = bench.target->attach({.token = "one"});
    if (lost) client->lost(bench.now);
    client.reset();
    CHECK(bench.target->cache_legacy(bench.now).absent.size() == (lost ? 1 : 0));
    if (lost) bench.target->attach({.token = "one", .again = true});
  }
}

TEST_CASE("record: it stays as it is when the export goes, for the one that comes in its place") {
  auto record = blank();
  std::unique_ptr<nbd::Attachment> client;
  {
    Bench bench;
    bench.target->record_in(record.get());
    bench.connect();
    client = bench.target->attach({.token = "one"});
    bench.write(0, 512, 1);
    bench.run();
    client->lost(bench.now);
    client.reset();
    bench.clients.clear();
    bench.target.reset();
  }
  CHECK(record->cache.unflushed() == 1);
  CHECK(record->clients[0].standing == LunRecord::Standing::told);
}
