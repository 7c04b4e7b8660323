// Who is owed a failing FLUSH, and what becomes of that when somebody goes.
#include <memory>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/bridge/cache_ledger.hpp"

using nbdgw::bridge::CacheLedger;
using nbdgw::bridge::CacheNumbers;
using nbdgw::bridge::CacheObserver;
using nbdgw::bridge::kMaxDebtsLeft;
using nbdgw::bridge::LossTold;
using nbdgw::nbd::LossStanding;

namespace {

/// A FLUSH comes, fails if it must, and its reply is sent.
bool fails(CacheLedger& ledger, CacheObserver& observer, bool sent = true) {
  const LossTold why = ledger.must_tell(observer, ledger.acknowledged());
  ledger.begin_telling(observer, why, ledger.acknowledged());
  ledger.end_telling();
  if (sent) ledger.heard(observer, why);
  return why != LossTold::no;
}

}  // namespace

TEST_CASE("cache ledger: numbers for people") {
  CacheLedger ledger;
  ledger.count_write(ledger.known().reports);
  ledger.count_write(ledger.known().reports);
  const std::uint64_t covered = ledger.acknowledged();
  ledger.count_write(ledger.known().reports);
  CHECK(ledger.unflushed() == 3);
  ledger.flush_succeeds(covered);
  CHECK(ledger.unflushed() == 1);
  CHECK(ledger.acknowledged() == 3);
  CHECK(ledger.doubtful() == 0);
  CHECK(ledger.report(ledger.known()));
  CHECK(ledger.doubtful() == 1);
  CHECK(ledger.debts() == 1);
  CHECK_FALSE(ledger.report(ledger.known()));  // nobody is owed more than before
  CHECK_FALSE(ledger.lost_since(CacheLedger::kNothingCached));
  CHECK(ledger.lost_since(0));
  CHECK_FALSE(ledger.lost_since(ledger.known().reports));
}

TEST_CASE("cache ledger: flushes may end in any order") {
  CacheLedger ledger;
  ledger.count_write(0);
  const std::uint64_t first = ledger.acknowledged();
  ledger.count_write(0);
  ledger.flush_succeeds(ledger.acknowledged());
  ledger.flush_succeeds(first);
  CHECK(ledger.unflushed() == 0);
}

TEST_CASE("cache ledger: a reply that was not sent has told nobody") {
  for (const bool sent : {true, false}) {
    for (const bool own : {true, false}) {
      CAPTURE(sent);
      CAPTURE(own);
      CacheLedger ledger;
      CacheObserver goes, comes;
      if (own) ledger.attach(goes, LossStanding::newcomer);
      ledger.count_write(0);
      ledger.report(ledger.known());
      if (!own) ledger.attach(goes, LossStanding::newcomer);
      CHECK(fails(ledger, goes, sent));
      CHECK_FALSE(fails(ledger, goes));
      ledger.detach(goes);
      ledger.attach(comes, LossStanding::newcomer);
      CHECK(fails(ledger, comes) == !sent);
      CHECK_FALSE(fails(ledger, comes));
      ledger.detach(comes);
    }
  }
}

TEST_CASE("cache ledger: several FLUSHes of one observer fail together, for a debt that is left one alone") {
  CacheLedger ledger;
  CacheObserver own, comes;
  ledger.attach(own, LossStanding::newcomer);
  ledger.count_write(0);
  ledger.report(ledger.known());
  for (int i = 0; i < 2; ++i) {
    REQUIRE(ledger.must_tell(own, 1) == LossTold::own);
    ledger.begin_telling(own, LossTold::own, 1);
  }
  ledger.end_telling();
  CHECK(ledger.must_tell(own, 1) == LossTold::no);
  ledger.count_write(1);
  ledger.report(ledger.known());
  ledger.detach(own);
  ledger.attach(comes, LossStanding::newcomer);
  REQUIRE(ledger.must_tell(comes, 2) == LossTold::left);
  ledger.begin_telling(comes, LossTold::left, 2);
  CHECK(ledger.must_tell(comes, 2) == LossTold::no);
  ledger.end_telling();
  ledger.detach(comes);
}

TEST_CASE("cache ledger: debts that are left have a limit") {
  CacheLedger ledger;
  std::vector<std::unique_ptr<CacheObserver>> many;
  for (std::uint32_t i = 0; i < kMaxDebtsLeft + 10; ++i) {
    ledger.attach(*many.emplace_back(std::make_unique<CacheObserver>()), LossStanding::newcomer);
  }
  ledger.count_write(0);
  ledger.report(ledger.known());
  CHECK(ledger.debts() == many.size());
  for (const auto& each : many) ledger.detach(*each);
  CHECK(ledger.debts() == kMaxDebtsLeft);
  CacheObserver comes;
  ledger.attach(comes, LossStanding::newcomer);
  std::uint32_t failed = 0;
  while (fails(ledger, comes)) ++failed;
  CHECK(failed == kMaxDebtsLeft);
  CHECK(ledger.doubtful() == 0);
  ledger.detach(comes);
}

TEST_CASE("cache ledger: another process goes on") {
  CacheLedger before;
  CacheObserver owed, told, newcomer;
  before.attach(owed, LossStanding::newcomer);
  before.attach(told, LossStanding::newcomer);
  before.count_write(0);
  before.report(before.known());
  CHECK(fails(before, told));
  before.attach(newcomer, LossStanding::newcomer);
  CHECK(owed.standing() == LossStanding::owed);
  CHECK(told.standing() == LossStanding::told);
  CHECK(newcomer.standing() == LossStanding::newcomer);

  CacheLedger after;
  CacheObserver owed_again, told_again, newcomer_again;
  SUBCASE("with the numbers") {
    after.restore(before.numbers());
  }
  SUBCASE("without: nothing is unflushed") {}
  after.attach(owed_again, owed.standing());
  after.attach(told_again, told.standing());
  after.attach(newcomer_again, newcomer.standing());
  CHECK(after.numbers().possible());
  CHECK_FALSE(fails(after, told_again));
  CHECK_FALSE(fails(after, newcomer_again));
  before.detach(owed);
  after.detach(owed_again);
  CHECK_FALSE(fails(after, told_again));
  CHECK(fails(after, newcomer_again));
  CHECK_FALSE(fails(after, newcomer_again));
  before.detach(told);
  before.detach(newcomer);
  after.detach(told_again);
  after.detach(newcomer_again);
}

TEST_CASE("cache ledger: absorbs another one's unflushed writes, debts and observers") {
  for (const bool own_doubt : {false, true}) {
    for (const bool other_doubt : {false, true}) {
      for (const bool there : {false, true}) {
        CacheLedger ledger, other;
        CacheObserver mine, moved, comes;
        ledger.attach(mine, LossStanding::newcomer);
        if (there) other.attach(moved, LossStanding::newcomer);
        ledger.count_write(0);
        other.count_write(0);
        other.count_write(0);
        if (own_doubt) ledger.report(ledger.known());
        if (other_doubt) other.report(other.known());
        other.flush_succeeds(1);
        ledger.absorb(other.numbers());
        if (there) ledger.move(moved, other);
        CHECK(ledger.numbers().possible());
        CHECK(ledger.unflushed() >= 2);
        ledger.attach(comes, LossStanding::newcomer);
        const bool left = other_doubt && !there;
        CHECK(fails(ledger, mine) == (own_doubt || left));
        CHECK(fails(ledger, comes) == (own_doubt && left));
        if (there) CHECK(fails(ledger, moved) == (other_doubt || own_doubt));
        ledger.report(ledger.known());
        CHECK(fails(ledger, mine) == !own_doubt);
        CHECK_FALSE(fails(ledger, mine));
        ledger.detach(mine);
        ledger.detach(comes);
        if (there) ledger.detach(moved);
      }
    }
  }
}

TEST_CASE("cache ledger: numbers that none can have") {
  const CacheNumbers good{.reports = 1,
                          .acknowledged = 9,
                          .flushed = 4,
                          .doubted_from = 6,
                          .doubted_to = 8,
                          .debts = 2,
                          .debt_writes = 3};
  CHECK(good.possible());
  CHECK(CacheNumbers{}.possible());
  const auto impossible = [&](auto change) {
    CacheNumbers numbers = good;
    change(numbers);
    CHECK_FALSE(numbers.possible());
  };
  impossible([](CacheNumbers& n) { n.flushed = 10; });
  impossible([](CacheNumbers& n) { n.doubted_to = 10; });
  impossible([](CacheNumbers& n) { n.doubted_from = 9; });
  impossible([](CacheNumbers& n) { n.debt_writes = 10; });
  impossible([](CacheNumbers& n) { n.debt_writes = 0; });
  impossible([](CacheNumbers& n) { n.debts = 0; });
  impossible([](CacheNumbers& n) { n.debts = kMaxDebtsLeft + 1; });
  impossible([](CacheNumbers& n) { n.reports = ~std::uint64_t{0}; });
  impossible([](CacheNumbers& n) { n.acknowledged = ~std::uint64_t{0}; });
}
