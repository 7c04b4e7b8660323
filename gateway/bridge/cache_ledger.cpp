#include "gateway/bridge/cache_ledger.hpp"

#include "proto/mutant.hpp"

namespace nbdgw::bridge {

using nbd::LossStanding;

void CacheLedger::forget() noexcept {
  numbers_.flushed = numbers_.doubted_from = numbers_.doubted_to = numbers_.acknowledged;
  numbers_.drop_debts();
}

namespace {

/// Where what is in doubt above `safe` begins for somebody who was told of these. Below them, too, is news.
std::uint64_t begin_of_news(std::uint64_t safe, std::uint64_t told_from, std::uint64_t told_to) noexcept {
  return safe < told_from ? safe : std::max(safe, told_to);
}

}  // namespace

/// Puts in doubt what is above `safe`, up to `to`, for those that were not told of it.
bool CacheLedger::doubt(std::uint64_t safe, std::uint64_t to) noexcept {
  if (safe >= to) return false;
  bool news = false;
  for (CacheObserver& observer : observers_) {
    const std::uint64_t from = begin_of_news(safe, observer.told_from_, observer.told_to_);
    if (from >= to) continue;
    news = news || !observer.owed();
    owe(observer, from, to);
  }
  CacheNumbers& all = numbers_;
  if (const std::uint64_t from = begin_of_news(safe, all.doubted_from, all.doubted_to);
      observers_.empty() && from < to) {
    all.leave_debt(to - from);
    news = true;
  }
  // With a gap between them the former ones are forgotten: rather somebody who comes later is told of them, too.
  const bool apart = safe > all.doubted_to || to < all.doubted_from;
  all.doubted_from = apart ? safe : std::min(all.doubted_from, safe);
  all.doubted_to = apart ? to : std::max(all.doubted_to, to);
  return news;
}

/// One run for each: it may have some in between that are not in doubt, and leaves none out.
void CacheLedger::owe(CacheObserver& observer, std::uint64_t from, std::uint64_t to) noexcept {
  const bool more = observer.owed();
  observer.from_ = more ? std::min(observer.from_, from) : from;
  observer.to_ = more ? std::max(observer.to_, to) : to;
  observer.newcomer_ = false;
}

void CacheLedger::attach(CacheObserver& observer, LossStanding standing) noexcept {
  observers_.push_back(observer);
  observer.newcomer_ = standing == LossStanding::newcomer;
  // What was in doubt before it came is for others to hear.
  observer.told_from_ = numbers_.doubted_from;
  observer.told_to_ = numbers_.doubted_to;
  if (standing == LossStanding::owed) {
    // Which writes it was about was forgotten: every FLUSH stands for them, also the first of all.
    numbers_.acknowledged = std::max<std::uint64_t>(numbers_.acknowledged, 1);
    owe(observer, 0, numbers_.acknowledged);
  }
}

void CacheLedger::detach(CacheObserver& observer) noexcept {
  observers_.erase(observers_.iterator_to(observer));
  if (NBDGW_MUTANT(debts_die_with_connections)) return;
  if (observer.owed() || observer.unheard_) numbers_.leave_debt(std::max<std::uint64_t>(observer.doubtful(), 1));
  for (; observer.passed_ > 0; --observer.passed_) numbers_.leave_debt(1);
}

void CacheLedger::move(CacheObserver& observer, CacheLedger& from) noexcept {
  from.observers_.erase(from.observers_.iterator_to(observer));
  observers_.push_back(observer);
  const std::uint64_t doubtful = observer.doubtful();
  observer.told_from_ = numbers_.doubted_from;
  observer.told_to_ = numbers_.doubted_to;
  observer.from_ = observer.to_ = 0;
  if (lost_since(restored_reports_) && numbers_.doubted_from < numbers_.doubted_to) {
    observer.told_from_ = observer.told_to_ = 0;
    owe(observer, numbers_.doubted_from, numbers_.doubted_to);
  }
  if (doubtful == 0) return;
  numbers_.acknowledged = std::max(numbers_.acknowledged, doubtful);
  owe(observer, numbers_.acknowledged - doubtful, numbers_.acknowledged);
}

void CacheLedger::begin_telling(CacheObserver& observer, LossTold why, std::uint64_t acknowledged) noexcept {
  if (why == LossTold::own) {
    observer.telling_ = std::max(observer.telling_, acknowledged);
    observer.unheard_ = true;
  } else if (why == LossTold::left) {
    numbers_.pay_debt();
    ++observer.passed_;
  }
}

void CacheLedger::end_telling() noexcept {
  for (CacheObserver& observer : observers_) {
    if (NBDGW_MUTANT(first_flush_pays_for_all)) observer.from_ = observer.to_;
    if (!observer.telling()) continue;
    observer.told_from_ = 0;
    observer.told_to_ = std::max(observer.told_to_, observer.telling_);
    observer.from_ = std::max(observer.from_, std::min(observer.telling_, observer.to_));
    observer.telling_ = 0;
  }
}

void CacheLedger::heard(CacheObserver& observer, LossTold why) noexcept {
  if (why == LossTold::own) observer.unheard_ = false;
  if (why == LossTold::left && observer.passed_ > 0) --observer.passed_;
}

std::uint64_t CacheLedger::doubtful() const noexcept {
  std::uint64_t most = numbers_.debt_writes;
  for (const CacheObserver& observer : observers_) most = std::max(most, observer.doubtful());
  return most;
}

std::uint64_t CacheLedger::debts() const noexcept {
  std::uint64_t count = numbers_.debts;
  for (const CacheObserver& observer : observers_) count += observer.owed() ? 1 : 0;
  return count;
}

}  // namespace nbdgw::bridge
