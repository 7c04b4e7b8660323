#include "gateway/bridge/cache_ledger.hpp"

#include <utility>

#include "proto/mutant.hpp"

namespace nbdgw::bridge {

using nbd::LossStanding;

void CacheLedger::forget() noexcept {
  numbers_->flushed = numbers_->doubted_from = numbers_->doubted_to = numbers_->acknowledged;
  numbers_->drop_debts();
  for (Absent& observer : absent_) observer.forget_mark();
  absent_.clear();
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
  const auto tell = [&](CacheObserver& observer) {
    const std::uint64_t from = begin_of_news(safe, observer.told_from_, observer.told_to_);
    if (from >= to) return;
    news = news || !observer.owed();
    owe(observer, from, to);
  };
  for (CacheObserver& observer : observers_) tell(observer);
  for (Absent& observer : absent_) tell(observer);
  CacheNumbers& all = *numbers_;
  if (const std::uint64_t from = begin_of_news(safe, all.doubted_from, all.doubted_to);
      observers_.empty() && absent_.empty() && from < to) {
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
  observer.note();
}

void CacheLedger::attach(CacheObserver& observer, LossStanding standing, std::string token) noexcept {
  observers_.push_back(observer);
  observer.token_ = std::move(token);
  mark(observer);
  observer.newcomer_ = standing == LossStanding::newcomer;
  if (standing == LossStanding::owed) owe_all(observer);
}

void CacheLedger::detach(CacheObserver& observer) noexcept {
  observers_.erase(observers_.iterator_to(observer));
  leave_debts_of(observer);
}

void CacheLedger::leave(CacheObserver& observer, proto::Micros now) {
  if (observer.replaced_ || observer.token_.empty()) return detach(observer);
  observers_.erase(observers_.iterator_to(observer));
  Absent& absent = make_room(now);
  absent.take(observer);
  // It was told, and cannot have heard it.
  if (observer.unheard_) owe(absent, 0, std::max<std::uint64_t>(observer.told_to_, 1));
  numbers_->acknowledged = std::max(numbers_->acknowledged, absent.to_);
  absent.note();
  for (; observer.passed_ > 0; --observer.passed_) numbers_->leave_debt(1);
}

void CacheLedger::expect(const AbsentLegacy& legacy, proto::Micros now) {
  Absent& absent = make_room(now);
  absent.token_ = legacy.token;
  mark(absent);
  if (legacy.owed) owe_all(absent);
}

/// Which writes it is about is not known: every FLUSH stands for them, also the first of all.
void CacheLedger::owe_all(CacheObserver& observer) noexcept {
  numbers_->acknowledged = std::max<std::uint64_t>(numbers_->acknowledged, 1);
  owe(observer, 0, numbers_->acknowledged);
}

CacheLedger::Absent& CacheLedger::make_room(proto::Micros now) {
  while (!absent_.empty() && (absent_.size() >= kMostAbsent || now - absent_.front().since > kAbsentFor))
    give_up(absent_.begin());
  Absent& absent = absent_.emplace_back();
  absent.since = now;
  return absent;
}

bool CacheLedger::resume(CacheObserver& observer, std::string token) {
  bool known = false;
  for (auto each = absent_.begin(); each != absent_.end();) {
    const auto absent = each++;
    if (absent->token_ != token) continue;
    // Two that have left under one name: the worse of both is assumed.
    const bool owed = observer.owed() || absent->owed();
    observer.forget_mark();
    observer.take(*absent);
    absent_.erase(absent);
    if (known && owed) owe_all(observer);
    known = true;
  }
  // Its old connection may not be known to be dead yet, or still be at work on what it has left behind.
  for (CacheObserver& other : observers_) {
    if (other.token_ != token || token.empty()) continue;
    if (!known) observer.stand_like(other);
    if (other.owed() || other.unheard_) owe_all(observer);
    other.forget_mark();
    other.token_.clear();
    other.replaced_ = known = true;
  }
  if (!known) {
    attach(observer, LossStanding::newcomer, std::move(token));
    owe_all(observer);
    return false;
  }
  observers_.push_back(observer);
  if (observer.token_.empty()) observer.token_ = std::move(token);
  if (observer.mark_ == nullptr) mark(observer);
  observer.note();
  return true;
}

std::vector<CacheLedger::AbsentLegacy> CacheLedger::absent() const {
  std::vector<AbsentLegacy> all;
  for (const Absent& each : absent_) all.push_back({.token = each.token_, .owed = each.owed()});
  return all;
}

void CacheLedger::give_up(std::list<Absent>::iterator absent) noexcept {
  leave_debts_of(*absent);
  absent_.erase(absent);
}

void CacheLedger::keep_in(LunRecord* record) noexcept {
  for (CacheObserver& observer : observers_) observer.forget_mark();
  for (Absent& observer : absent_) observer.forget_mark();
  const CacheNumbers numbers = *numbers_;
  record_ = record;
  numbers_ = record != nullptr ? &record->cache : &own_;
  *numbers_ = numbers;
  for (CacheObserver& observer : observers_) mark(observer);
  for (Absent& observer : absent_) mark(observer);
}

void CacheLedger::leave_record() noexcept {
  for (CacheObserver& observer : observers_) observer.leave_mark();
  for (Absent& observer : absent_) observer.leave_mark();
  own_ = *numbers_;
  numbers_ = &own_;
  record_ = nullptr;
}

void CacheLedger::mark(CacheObserver& observer) noexcept {
  if (record_ == nullptr || observer.replaced_) return;
  const std::string& token = observer.token_;
  const auto free = std::ranges::find(record_->clients, LunRecord::Standing::none, &LunRecord::Client::standing);
  if (token.empty() || token.size() > proto::nbd::kMaxClientToken || free == record_->clients.end()) {
    observer.unnamed_ = &record_->owed_unnamed;
  } else {
    std::ranges::copy(token, free->token.begin());
    free->token_length = static_cast<std::uint8_t>(token.size());
    observer.mark_ = &*free;
  }
  observer.note();
}

void CacheLedger::leave_debts_of(CacheObserver& observer) noexcept {
  observer.forget_mark();
  if (NBDGW_MUTANT(debts_die_with_connections)) return;
  // Of one that was replaced, the client is there to be told.
  if (!observer.replaced_ && (observer.owed() || observer.unheard_))
    numbers_->leave_debt(std::max<std::uint64_t>(observer.doubtful(), 1));
  for (; observer.passed_ > 0; --observer.passed_) numbers_->leave_debt(1);
}

void CacheLedger::move(CacheObserver& observer, CacheLedger& from) noexcept {
  from.observers_.erase(from.observers_.iterator_to(observer));
  observers_.push_back(observer);
  bring(observer);
}

/// Its writes had the numbers of another ledger.
void CacheLedger::bring(CacheObserver& observer) noexcept {
  observer.forget_mark();
  mark(observer);
  const std::uint64_t doubtful = observer.doubtful();
  observer.told_from_ = observer.told_to_ = 0;
  observer.from_ = observer.to_ = 0;
  if (lost_since(restored_reports_) && numbers_->doubted_from < numbers_->doubted_to)
    owe(observer, numbers_->doubted_from, numbers_->doubted_to);
  if (doubtful == 0) return;
  numbers_->acknowledged = std::max(numbers_->acknowledged, doubtful);
  owe(observer, numbers_->acknowledged - doubtful, numbers_->acknowledged);
}

void CacheLedger::take_absent(CacheLedger& from) {
  for (Absent& each : from.absent_) bring(each);
  absent_.splice(absent_.end(), from.absent_);
}

void CacheLedger::begin_telling(CacheObserver& observer, LossTold why, std::uint64_t acknowledged) noexcept {
  if (why == LossTold::own) {
    observer.telling_ = std::max(observer.telling_, acknowledged);
    observer.unheard_ = true;
    observer.note();
  } else if (why == LossTold::left) {
    ++observer.passed_;
    observer.note();  // before the debt is paid: one of the two is there, whenever the process dies
    numbers_->pay_debt();
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
    observer.note();
  }
}

void CacheLedger::heard(CacheObserver& observer, LossTold why) noexcept {
  if (why == LossTold::own) observer.unheard_ = false;
  if (why == LossTold::left && observer.passed_ > 0) --observer.passed_;
  observer.note();
}

std::uint64_t CacheLedger::doubtful() const noexcept {
  std::uint64_t most = numbers_->debt_writes;
  for (const CacheObserver& observer : observers_) most = std::max(most, observer.doubtful());
  for (const Absent& observer : absent_) most = std::max(most, observer.doubtful());
  return most;
}

std::uint64_t CacheLedger::debts() const noexcept {
  std::uint64_t count = numbers_->debts;
  for (const CacheObserver& observer : observers_) count += observer.owed() ? 1 : 0;
  for (const Absent& observer : absent_) count += observer.owed() ? 1 : 0;
  return count;
}

}  // namespace nbdgw::bridge
