#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "gateway/bridge/cache_numbers.hpp"
#include "gateway/bridge/cache_observer.hpp"
#include "gateway/bridge/lun_record.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// What was acknowledged but is only in the LUN's volatile cache, what of it may be gone, and who has to be told.
///
/// Acknowledged write-like requests are numbered. A SYNCHRONIZE CACHE brings all numbers given before it was sent to
/// stable storage. A report that the cache may be lost puts in doubt what is acknowledged and not there: a loss. So
/// does a SYNCHRONIZE CACHE that fails in a way that may have cost what was in the cache, which is more than what it
/// covered: what was done before it, and acknowledged while it ran, was there, too.
///
/// Each connection that is attached then (an observer) is owed a failing FLUSH, whoever else has had one: the first
/// that came after a number in doubt was given fails, whatever its SYNCHRONIZE CACHE came to. These numbers are then
/// told to this observer, and never fail another FLUSH of it; so several losses before it may become one. What was
/// acknowledged after that FLUSH came is not its business: it stays in doubt, for the next one. Who comes after a
/// loss is not told of it, but of the next one again, of the same numbers, too: they may have been there until then,
/// and have been read by it.
///
/// A client that makes another connection when it loses one (resume(), by a token of its own) is an observer
/// meanwhile, too: what is lost then is owed to it. One whose token nobody here knows was served by another process,
/// of which nothing is known: what it wrote and did not flush may be lost, and its first FLUSH fails.
///
/// Who goes untold, the reply of a failing FLUSH unsent included, leaves a debt. So does a loss that nobody was there
/// to hear of. Such a debt is told once, by a FLUSH of a connection that has attached after the last loss: the others
/// have had one of their own.
///
/// Answers come over several connections, so they need not come in the order in which the target gave them. What was
/// known when a command was sent is certainly older than the command; where the order is open, the worse is assumed.
/// A write that was sent before a report, and ends well after it, may have been in the cache that was lost: it is in
/// doubt. A report by a command that was sent before a flush had ended may be older than that flush, which was then
/// told to be good in error: what it covered is in doubt, too, for those that were not told yet.
class CacheLedger {
 public:
  /// What was known when a command was sent.
  struct Known {
    std::uint64_t flushed = 0;  // this many writes are on stable storage
    std::uint64_t reports = 0;  // of a loss
  };

  CacheLedger() = default;
  CacheLedger(const CacheLedger&) = delete;
  CacheLedger& operator=(const CacheLedger&) = delete;

  const CacheNumbers& numbers() const noexcept { return *numbers_; }
  /// Before there are observers.
  void restore(const CacheNumbers& numbers) noexcept {
    *numbers_ = numbers;
    restored_reports_ = numbers.reports;
  }
  /// From now on it is kept there, where it outlives the process; null: no more.
  void keep_in(LunRecord* record) noexcept;
  /// No more, and what is there stays as it is: who comes next reads it.
  void leave_record() noexcept;
  const LunRecord* kept_in() const noexcept { return record_; }
  /// It was another disk's: nothing is unflushed here, and nobody who has gone was owed anything.
  void forget() noexcept;

  Known known() const noexcept { return {numbers_->flushed, numbers_->reports}; }

  /// More reports than there will be: of a request that has nothing in the cache.
  static constexpr std::uint64_t kNothingCached = ~std::uint64_t{0};

  // ---- observers ----

  void attach(CacheObserver& observer, nbd::LossStanding standing, std::string token = {}) noexcept;
  void detach(CacheObserver& observer) noexcept;
  /// So many that have lost their connection are waited for; the oldest is given up, and leaves its debt.
  static constexpr std::size_t kMostAbsent = LunRecord::kClients;
  static constexpr proto::Micros kAbsentFor = 24 * 3600 * proto::kSecond;
  /// Like detach(), but it will be back.
  void leave(CacheObserver& observer, proto::Micros now);
  /// Like attach(), of one that has left, here or in a process before, or whose old connection is not known to be
  /// dead yet. False: nothing is known of it.
  bool resume(CacheObserver& observer, std::string token);
  /// Who has left another process, or was attached when that died.
  struct AbsentLegacy {
    std::string token;
    bool owed = false;
  };
  void expect(const AbsentLegacy& absent, proto::Micros now);
  std::vector<AbsentLegacy> absent() const;
  bool expects_somebody() const noexcept { return !absent_.empty(); }
  /// Those of another ledger of the same disk, which nobody serves any more.
  void take_absent(CacheLedger& from);
  CacheObservers& observers() noexcept { return observers_; }
  /// Goes on for another ledger of the same disk, too: what is unflushed there is unflushed here, and debts are owed
  /// here. Its observers are move()d one by one.
  void absorb(const CacheNumbers& other) noexcept { numbers_->absorb(other); }
  /// One of another ledger comes here, with what it is owed. It may have been attached, there or to a process before,
  /// when something was lost here: it is owed that, too.
  void move(CacheObserver& observer, CacheLedger& from) noexcept;

  // ---- writes, flushes and losses. True: somebody is owed a failing FLUSH who was not before. ----

  /// A request has ended well that has data in the cache; `reports` were known when the first command was sent that
  /// has put some there.
  bool count_write(std::uint64_t reports) noexcept {
    ++numbers_->acknowledged;
    return lost_since(reports) && doubt(numbers_->acknowledged - 1, numbers_->acknowledged);
  }

  /// A SYNCHRONIZE CACHE has ended well, or none was needed, when so many writes were acknowledged() before it was
  /// sent. Several may be under way, and end in any order.
  void flush_succeeds(std::uint64_t covered) noexcept { numbers_->flushed = std::max(numbers_->flushed, covered); }

  /// A command reports that the cache may be lost, or is a SYNCHRONIZE CACHE that has failed and may have cost it.
  bool report(const Known& when_sent) noexcept {
    ++numbers_->reports;
    return doubt(when_sent.flushed, numbers_->acknowledged);
  }

  /// Whether what a command has put into the cache may be gone, for which so many reports were known when it was
  /// sent.
  bool lost_since(std::uint64_t reports) const noexcept { return reports < numbers_->reports; }

  // ---- telling ----

  /// Whether a FLUSH must fail that came when so many writes were acknowledged().
  LossTold must_tell(const CacheObserver& observer, std::uint64_t acknowledged) const noexcept {
    if (observer.owed() && observer.from_ < acknowledged) return LossTold::own;
    return numbers_->debts > 0 && observer.newcomer_ ? LossTold::left : LossTold::no;
  }
  /// It fails for that. Others of the same observer that wait for the same command must fail for the same until
  /// end_telling().
  void begin_telling(CacheObserver& observer, LossTold why, std::uint64_t acknowledged) noexcept;
  void end_telling() noexcept;
  /// The reply of such a FLUSH was sent.
  void heard(CacheObserver& observer, LossTold why) noexcept;

  // ---- numbers for people; not on the way of a request ----

  /// Writes, since the beginning.
  std::uint64_t acknowledged() const noexcept { return numbers_->acknowledged; }
  /// Those in doubt that somebody was not told of yet.
  std::uint64_t doubtful() const noexcept;
  /// FLUSHes that are to fail for what may be lost by now.
  std::uint64_t debts() const noexcept;
  /// Those that a loss of the cache would lose now.
  std::uint64_t unflushed() const noexcept { return numbers_->unflushed(); }
  /// There is something that a later FLUSH has to do with.
  bool matters() const noexcept { return numbers_->matters() || debts() > 0; }

 private:
  /// One that will be back.
  struct Absent : CacheObserver {
    proto::Micros since = 0;
  };

  bool doubt(std::uint64_t safe, std::uint64_t to) noexcept;
  void leave_debts_of(CacheObserver& observer) noexcept;
  void give_up(std::list<Absent>::iterator absent) noexcept;
  void bring(CacheObserver& observer) noexcept;
  Absent& make_room(proto::Micros now);
  void mark(CacheObserver& observer) noexcept;
  void owe_all(CacheObserver& observer) noexcept;
  static void owe(CacheObserver& observer, std::uint64_t from, std::uint64_t to) noexcept;

  CacheNumbers own_;
  CacheNumbers* numbers_ = &own_;  // own_, or those of record_
  LunRecord* record_ = nullptr;
  std::uint64_t restored_reports_ = 0;  // of which kept observers bring along what they are owed
  CacheObservers observers_;
  std::list<Absent> absent_;  // in the order in which they left
};

}  // namespace nbdgw::bridge
