#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace nbdgw::bridge {

/// What was acknowledged but is only in the LUN's volatile cache, and what of it may be gone (design 1.2).
///
/// Acknowledged write-like requests are numbered. A SYNCHRONIZE CACHE brings all numbers given before it was sent to
/// stable storage. A report that the cache may be lost puts in doubt what is acknowledged and not there. A FLUSH that
/// came after a number in doubt was given fails, whatever its SYNCHRONIZE CACHE came to; these numbers are then told,
/// and never fail another one. What was acknowledged after that FLUSH came is not its business: it stays in doubt,
/// for the next one.
///
/// Answers come over several connections, so they need not come in the order in which the target gave them. What was
/// known when a command was sent is certainly older than the command; where the order is open, the worse is assumed.
/// A write that was sent before a report, and ends well after it, may have been in the cache that was lost: it is in
/// doubt. A report by a command that was sent before a flush had ended may be older than that flush, which was then
/// told to be good in error: what it covered is in doubt, too.
class CacheLedger {
 public:
  /// What was known when a command was sent.
  struct Known {
    std::uint64_t flushed = 0;  // this many writes are on stable storage
    std::uint64_t reports = 0;  // of a loss
  };
  /// All of it, to be written down.
  struct Numbers {
    std::uint64_t reports = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t covered = 0;  // of them, by the last flush that began
    std::uint64_t flushed = 0;
    std::uint64_t told = 0;        // nobody needs to be told of these again
    std::uint64_t doubt_from = 0;  // in doubt: above this, up to doubt_to
    std::uint64_t doubt_to = 0;
  };

  CacheLedger() = default;
  /// Nothing: no ledger can have such numbers.
  static std::optional<CacheLedger> from(const Numbers& numbers) noexcept {
    const std::uint64_t all = numbers.acknowledged;
    if (numbers.covered > all || numbers.flushed > numbers.covered || numbers.told > all || numbers.doubt_to > all ||
        numbers.doubt_from > numbers.doubt_to) {
      return std::nullopt;
    }
    CacheLedger ledger;
    ledger.numbers_ = numbers;
    return ledger;
  }
  const Numbers& numbers() const noexcept { return numbers_; }

  Known known() const noexcept { return {numbers_.flushed, numbers_.reports}; }

  /// More reports than there will be: of a request that has nothing in the cache.
  static constexpr std::uint64_t kNothingCached = ~std::uint64_t{0};

  /// A request has ended well that has data in the cache; `reports` were known when the first command was sent that
  /// has put some there.
  void count_write(std::uint64_t reports) noexcept {
    ++numbers_.acknowledged;
    if (!lost_since(reports)) return;
    if (doubtful() == 0) numbers_.doubt_from = numbers_.acknowledged - 1;
    numbers_.doubt_to = numbers_.acknowledged;
  }

  /// A SYNCHRONIZE CACHE goes out, or none is needed.
  void flush_begins() noexcept { numbers_.covered = numbers_.acknowledged; }
  /// What it covers is on stable storage.
  void flush_succeeds() noexcept { numbers_.flushed = numbers_.covered; }

  /// A command reports that the cache may be lost.
  void report(const Known& when_sent) noexcept {
    ++numbers_.reports;
    const std::uint64_t safe = std::max(when_sent.flushed, numbers_.told);
    if (safe == numbers_.acknowledged) return;
    numbers_.doubt_from = doubtful() == 0 ? safe : std::min(numbers_.doubt_from, safe);
    numbers_.doubt_to = numbers_.acknowledged;
  }

  /// Whether what a command has put into the cache may be gone, for which so many reports were known when it was
  /// sent.
  bool lost_since(std::uint64_t reports) const noexcept { return reports < numbers_.reports; }

  /// Whether a FLUSH must fail that came when so many writes were acknowledged().
  bool flush_must_fail(std::uint64_t acknowledged) const noexcept {
    return doubtful() > 0 && numbers_.doubt_from < acknowledged;
  }
  /// It has failed.
  void told(std::uint64_t acknowledged) noexcept {
    numbers_.told = std::max(numbers_.told, acknowledged);
    numbers_.doubt_from = std::max(numbers_.doubt_from, std::min(acknowledged, numbers_.doubt_to));
  }

  /// Writes, since the beginning.
  std::uint64_t acknowledged() const noexcept { return numbers_.acknowledged; }
  /// Those that are in doubt, and not told yet.
  std::uint64_t doubtful() const noexcept { return numbers_.doubt_to - numbers_.doubt_from; }
  /// Those that a loss of the cache would lose now.
  std::uint64_t unflushed() const noexcept { return numbers_.acknowledged - numbers_.flushed; }

 private:
  Numbers numbers_;
};

}  // namespace nbdgw::bridge
