#pragma once

#include <algorithm>
#include <cstdint>

namespace nbdgw::bridge {

/// Debts that are left by those who have gone, at most: what is more is told with them. As many as the connections of
/// a client with one for each processor of a large machine; a later client is to hear of it, not to be made useless.
inline constexpr std::uint32_t kMaxDebtsLeft = 256;

/// All of a CacheLedger but for its observers, to be written down. Writes are numbered as they are acknowledged.
struct CacheNumbers {
  /// More than any gateway will have counted.
  static constexpr std::uint64_t kMost = std::uint64_t{1} << 62;

  std::uint64_t reports = 0;  // of a loss
  std::uint64_t acknowledged = 0;
  std::uint64_t flushed = 0;       // on stable storage
  std::uint64_t doubted_from = 0;  // the last ones that were in doubt for somebody: above this,
  std::uint64_t doubted_to = 0;    // up to here
  std::uint32_t debts = 0;         // of those who have gone without being told; up to kMaxDebtsLeft
  std::uint64_t debt_writes = 0;   // that these are about, at most

  /// No ledger can have others.
  bool possible() const noexcept {
    return reports <= kMost && acknowledged <= kMost && flushed <= acknowledged && doubted_from <= doubted_to &&
           doubted_to <= acknowledged && debt_writes <= acknowledged && debts <= kMaxDebtsLeft &&
           (debts == 0) == (debt_writes == 0);
  }
  std::uint64_t unflushed() const noexcept { return acknowledged - flushed; }
  /// There is something that a later FLUSH has to do with.
  bool matters() const noexcept { return unflushed() > 0 || debts > 0; }

  /// Somebody has gone without being told of so many.
  void leave_debt(std::uint64_t writes) noexcept {
    acknowledged = std::max(acknowledged, writes);
    debt_writes = std::max(debt_writes, writes);
    debts = std::min(debts + 1, kMaxDebtsLeft);
  }
  void drop_debts() noexcept { debts = 0, debt_writes = 0; }
  void pay_debt() noexcept {
    if (--debts == 0) debt_writes = 0;
  }
  /// Goes on for another ledger of the same disk, too.
  void absorb(const CacheNumbers& other) noexcept {
    acknowledged += std::max(other.unflushed(), other.debt_writes);
    debts = std::min(debts + other.debts, kMaxDebtsLeft);
    debt_writes = std::max(debt_writes, other.debt_writes);
  }
};

}  // namespace nbdgw::bridge
