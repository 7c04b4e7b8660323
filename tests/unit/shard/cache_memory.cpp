#include "gateway/shard/cache_memory.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace nbdgw;
using shard::CacheMemory;
using shard::ExportLegacy;

namespace {

const std::string kIqn = "iqn.2026-11.io.nbdgw:t";

ExportLegacy gone(std::uint64_t lun, const bridge::CacheNumbers& numbers) {
  ExportLegacy legacy;
  legacy.name = "vol" + std::to_string(lun);
  legacy.iqn = kIqn;
  legacy.lun = lun;
  legacy.cache.cache = numbers;
  return legacy;
}

constexpr bridge::CacheNumbers kUnflushed{.acknowledged = 5, .flushed = 3};
constexpr bridge::CacheNumbers kOwed{.acknowledged = 5, .flushed = 5, .debts = 1, .debt_writes = 2};
constexpr bridge::CacheNumbers kNothing{.acknowledged = 5, .flushed = 5};

}  // namespace

TEST_CASE("cache memory: for whoever comes in the same change, all of it; later, what matters") {
  CacheMemory memory;
  memory.put(gone(1, kNothing));
  const auto at_once = memory.take(kIqn, 1);
  REQUIRE(at_once);
  CHECK_FALSE(at_once->gap);
  memory.put(gone(1, kNothing));
  memory.put(gone(2, kUnflushed));
  memory.put(gone(3, kOwed));
  memory.settle();
  CHECK(memory.all().size() == 2);
  memory.settle();  // other changes of the configuration
  CHECK_FALSE(memory.take(kIqn, 1));
  CHECK_FALSE(memory.take("iqn.2026-11.io.nbdgw:other", 2));
  const auto unflushed = memory.take(kIqn, 2);
  REQUIRE(unflushed);
  CHECK(unflushed->gap);
  CHECK(unflushed->cache.unflushed() == 2);
  memory.settle();
  CHECK_FALSE(memory.take(kIqn, 2));
  CHECK(memory.all().size() == 1);
  shard::ExportLegacy left = gone(4, kNothing);
  left.cache.writes_left = true;
  left.cache.left = {{.group = {.tag = 1, .portal = {}, .address = {}}, .acknowledged = true}};
  memory.put(left);
  left.cache.left = {{.group = {.tag = 1, .portal = {}, .address = {}}, .acknowledged = false},
                     {.group = {.tag = 2, .portal = {}, .address = {}}, .acknowledged = true}};
  memory.put(left);
  memory.settle();
  const auto reset_first = memory.take(kIqn, 4);
  REQUIRE(reset_first);
  CHECK(reset_first->writes_left);
  REQUIRE(reset_first->left.size() == 2);
  CHECK_FALSE(reset_first->left[0].acknowledged);
  CHECK(reset_first->left[1].acknowledged);
}

TEST_CASE(
    "cache memory: who is away, and where writes may be left, is known of all exports of a LUN that have gone") {
  CacheMemory memory;
  for (const char* token : {"one", "two"}) {
    shard::ExportLegacy left = gone(1, kNothing);
    left.cache.absent = {{.token = token, .owed = false}};
    left.cache.unjudged = token == std::string("one");
    if (left.cache.unjudged)
      left.cache.left = {{.group = {.tag = 1, .portal = {.host = "192.0.2.1"}, .address = ""}}};
    memory.put(left);
  }
  memory.expect(kIqn, 1, {.token = "three", .owed = true});
  memory.expect(kIqn, 2, {.token = "nobody's", .owed = true});
  REQUIRE(memory.place_of(kIqn));
  CHECK(memory.place_of(kIqn)->portal.host == "192.0.2.1");
  CHECK_FALSE(memory.place_of("iqn.2026-11.io.nbdgw:other"));
  const auto all = memory.take(kIqn, 1);
  REQUIRE(all);
  CHECK(all->absent.size() == 3);
  CHECK(all->unjudged);
  CHECK(all->left.size() == 1);
  CHECK_FALSE(memory.place_of(kIqn));  // whoever has taken it goes there
}

TEST_CASE("cache memory: of several exports of a LUN the first has the debts, all have what is unflushed") {
  CacheMemory memory;
  memory.put(gone(1, {.acknowledged = 5, .flushed = 3, .debts = 2, .debt_writes = 1}));
  CHECK(memory.take(kIqn, 1)->cache.debts == 2);
  const auto second = memory.take(kIqn, 1);
  REQUIRE(second);
  CHECK(second->cache.debts == 0);
  CHECK(second->cache.unflushed() == 2);
}

TEST_CASE("cache memory: several exports of a LUN that go, one after the other") {
  CacheMemory memory;
  memory.put(gone(1, kUnflushed));
  memory.put(gone(1, kOwed));
  const auto both = memory.take(kIqn, 1);
  REQUIRE(both);
  CHECK(both->cache.debts == 1);
  CHECK(both->cache.unflushed() >= 2);
  CHECK(both->cache.possible());
  memory.put(gone(1, kOwed));  // the heir has gone, too: what it had is not had twice
  CHECK(memory.take(kIqn, 1)->cache.debts == 1);
}

TEST_CASE("cache memory: a debt of a client that does not come back") {
  CacheMemory memory;
  memory.put(gone(1, kUnflushed));
  memory.leave_debt(kIqn, 1);
  memory.leave_debt(kIqn, 2);  // nothing is known of it
  CHECK(memory.take(kIqn, 1)->cache.debts == 1);
}

TEST_CASE("cache memory: it has a limit, and forgets the oldest") {
  CacheMemory memory;
  for (std::uint64_t lun = 0; lun < CacheMemory::kMost + 3; ++lun) memory.put(gone(lun, kUnflushed));
  memory.settle();
  CHECK(memory.all().size() == CacheMemory::kMost);
  CHECK_FALSE(memory.take(kIqn, 2));
  CHECK(memory.take(kIqn, 3));
}
