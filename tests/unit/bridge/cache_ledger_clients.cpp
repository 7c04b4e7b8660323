// Clients that make another connection, by their tokens: here, in the record, and after they are given up.
#include "gateway/bridge/cache_ledger.hpp"

#include <algorithm>
#include <cstring>
#include <list>
#include <string_view>

#include <doctest/doctest.h>

using nbdgw::bridge::CacheLedger;
using nbdgw::bridge::CacheObserver;
using nbdgw::bridge::LossTold;
using nbdgw::nbd::LossStanding;

TEST_CASE("cache ledger: who makes another connection is owed what was lost meanwhile") {
  CacheLedger ledger;
  CacheObserver first, again, other;
  ledger.attach(first, LossStanding::newcomer, "one");
  ledger.attach(other, LossStanding::newcomer);
  ledger.count_write(0);
  SUBCASE("lost while it was away") {
    ledger.leave(first, 0);
    CHECK(ledger.report(ledger.known()));
    CHECK(ledger.debts() == 2);
    ledger.resume(again, "one");
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
  }
  SUBCASE("lost before, and not told") {
    ledger.report(ledger.known());
    ledger.leave(first, 0);
    ledger.resume(again, "one");
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
  }
  SUBCASE("told, and not heard") {
    ledger.report(ledger.known());
    ledger.begin_telling(first, LossTold::own, ledger.acknowledged());
    ledger.end_telling();
    ledger.leave(first, 0);
    ledger.resume(again, "one");
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
  }
  SUBCASE("nothing was lost") {
    ledger.leave(first, 0);
    ledger.resume(again, "one");
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::no);
    CHECK(ledger.report(ledger.known()));
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
  }
  SUBCASE("of another process: what it wrote there may be lost, and it hears of that once") {
    ledger.leave(first, 0);
    CHECK_FALSE(ledger.resume(again, "two"));
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
    ledger.begin_telling(again, LossTold::own, ledger.acknowledged());
    ledger.end_telling();
    ledger.heard(again, LossTold::own);
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::no);
    CHECK(ledger.must_tell(other, ledger.acknowledged()) == LossTold::no);
  }
  SUBCASE("its old connection is not known to be dead") {
    SUBCASE("lost before") {
      ledger.report(ledger.known());
    }
    SUBCASE("lost after") {}
    CHECK(ledger.resume(again, "one"));
    ledger.report(ledger.known());
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
    ledger.leave(first, 0);  // and that is the end of it: the client is there
    CHECK(ledger.absent().empty());
    CHECK(ledger.numbers().debts == 0);
  }
  SUBCASE("it comes back twice at once: both are told, and one name stays") {
    ledger.report(ledger.known());
    ledger.leave(first, 0);
    CacheObserver twin;
    CHECK(ledger.resume(twin, "one"));
    CHECK(ledger.resume(again, "one"));
    CHECK(ledger.must_tell(twin, ledger.acknowledged()) == LossTold::own);
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
    ledger.leave(twin, 0);
    CHECK(ledger.absent().empty());
    CHECK(ledger.numbers().debts == 0);
  }
  SUBCASE("somebody else has left under its name: the worse of both is assumed") {
    ledger.report(ledger.known());
    ledger.leave(first, 0);
    CacheObserver thief;
    ledger.attach(thief, LossStanding::newcomer, "one");
    ledger.leave(thief, 0);
    CHECK(ledger.resume(again, "one"));
    CHECK(ledger.must_tell(again, ledger.acknowledged()) == LossTold::own);
    CHECK(ledger.absent().empty());
  }
  CHECK(ledger.absent().size() <= 1);
  ledger.detach(again);
  ledger.detach(other);
}

namespace {

using nbdgw::bridge::LunRecord;

LunRecord blank_record() {
  LunRecord record;
  std::memset(static_cast<void*>(&record), 0, sizeof record);
  return record;
}

/// What the process that dies now leaves of a client.
LunRecord::Standing standing_of(const LunRecord& record, std::string_view token) {
  for (const LunRecord::Client& client : record.clients) {
    if (client.standing != LunRecord::Standing::none &&
        std::string_view(client.token.data(), client.token_length) == token)
      return client.standing;
  }
  return LunRecord::Standing::none;
}

}  // namespace

TEST_CASE("cache ledger: the record has what each client is owed, at every moment") {
  using enum LunRecord::Standing;
  LunRecord record = blank_record();
  CacheLedger ledger;
  ledger.keep_in(&record);
  CacheObserver named, unnamed;
  ledger.attach(named, LossStanding::newcomer, "one");
  ledger.attach(unnamed, LossStanding::newcomer);
  ledger.count_write(0);
  CHECK(record.cache.unflushed() == 1);
  CHECK(standing_of(record, "one") == told);
  ledger.report(ledger.known());
  CHECK(standing_of(record, "one") == owed);
  CHECK(record.owed_unnamed == 1);
  SUBCASE("the reply is on its way, and sent") {
    for (CacheObserver* const observer : {&named, &unnamed}) {
      ledger.begin_telling(*observer, LossTold::own, ledger.acknowledged());
      ledger.end_telling();
    }
    CHECK(standing_of(record, "one") == owed);
    CHECK(record.owed_unnamed == 1);
    ledger.heard(named, LossTold::own);
    ledger.heard(unnamed, LossTold::own);
    CHECK(standing_of(record, "one") == told);
    CHECK(record.owed_unnamed == 0);
  }
  SUBCASE("a debt of others that it is told of stays one until then") {
    ledger.detach(unnamed);
    CHECK(record.owed_unnamed == 0);
    CHECK(record.cache.debts == 1);
    CacheObserver late;
    ledger.attach(late, LossStanding::newcomer, "two");
    REQUIRE(ledger.must_tell(late, ledger.acknowledged()) == LossTold::left);
    ledger.begin_telling(late, LossTold::left, ledger.acknowledged());
    CHECK(record.cache.debts == 0);
    CHECK(standing_of(record, "two") == owed);
    ledger.heard(late, LossTold::left);
    CHECK(standing_of(record, "two") == told);
    ledger.detach(late);
    CHECK(standing_of(record, "two") == none);
    ledger.attach(unnamed, LossStanding::told);
  }
  SUBCASE("it is away, and comes back") {
    ledger.leave(named, 0);
    CHECK(standing_of(record, "one") == owed);
    REQUIRE(ledger.resume(named, "one"));
    CHECK(standing_of(record, "one") == owed);
    CHECK(std::ranges::count(record.clients, owed, &LunRecord::Client::standing) == 1);
  }
  SUBCASE("the ledger goes on elsewhere, and the record stays for who comes next") {
    ledger.leave_record();
    ledger.flush_succeeds(ledger.acknowledged());
    CHECK(record.cache.unflushed() == 1);
    CHECK(standing_of(record, "one") == owed);
    CHECK(ledger.debts() == 2);
  }
  ledger.detach(named);
  ledger.detach(unnamed);
  if (ledger.kept_in() != nullptr) CHECK(record.owed_unnamed == 0);
}

TEST_CASE("cache ledger: more clients than the record has places for are counted, and hear of it in the end") {
  LunRecord record = blank_record();
  CacheLedger ledger;
  ledger.keep_in(&record);
  ledger.count_write(0);
  std::list<CacheObserver> crowd;
  for (std::size_t i = 0; i < LunRecord::kClients + 3; ++i)
    ledger.attach(crowd.emplace_back(), LossStanding::newcomer, std::to_string(i));
  ledger.report(ledger.known());
  CHECK(record.owed_unnamed == 3);
  for (CacheObserver& observer : crowd) ledger.detach(observer);
  CHECK(record.owed_unnamed == 0);
  CHECK(std::ranges::count(record.clients, LunRecord::Standing::none, &LunRecord::Client::standing) ==
        LunRecord::kClients);
}

TEST_CASE("cache ledger: who stays away leaves a debt in the end") {
  CacheLedger ledger;
  ledger.count_write(0);
  for (std::size_t i = 0; i <= CacheLedger::kMostAbsent; ++i) {
    CacheObserver observer;
    ledger.attach(observer, LossStanding::newcomer, std::to_string(i));
    if (i == 0) ledger.report(ledger.known());
    ledger.leave(observer, 0);
  }
  CHECK(ledger.absent().size() == CacheLedger::kMostAbsent);
  CHECK(ledger.numbers().debts == 1);
  CacheObserver late;
  ledger.attach(late, LossStanding::newcomer, "late");
  ledger.leave(late, CacheLedger::kAbsentFor + 1);
  CHECK(ledger.absent().size() == 1);
}
