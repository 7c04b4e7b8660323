#pragma once

#include <algorithm>
#include <cstdint>

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
  Known known() const noexcept { return {flushed_, reports_}; }

  /// More reports than there will be: of a request that has nothing in the cache.
  static constexpr std::uint64_t kNothingCached = ~std::uint64_t{0};

  /// A request has ended well that has data in the cache; `reports` were known when the first command was sent that
  /// has put some there.
  void count_write(std::uint64_t reports) noexcept {
    ++acknowledged_;
    if (!lost_since(reports)) return;
    if (doubtful() == 0) doubt_from_ = acknowledged_ - 1;
    doubt_to_ = acknowledged_;
  }

  /// A SYNCHRONIZE CACHE goes out, or none is needed.
  void flush_begins() noexcept { covered_ = acknowledged_; }
  /// What it covers is on stable storage.
  void flush_succeeds() noexcept { flushed_ = covered_; }

  /// A command reports that the cache may be lost.
  void report(const Known& when_sent) noexcept {
    ++reports_;
    const std::uint64_t safe = std::max(when_sent.flushed, told_);
    if (safe == acknowledged_) return;
    doubt_from_ = doubtful() == 0 ? safe : std::min(doubt_from_, safe);
    doubt_to_ = acknowledged_;
  }

  /// Whether what a command has put into the cache may be gone, for which so many reports were known when it was
  /// sent.
  bool lost_since(std::uint64_t reports) const noexcept { return reports < reports_; }

  /// Whether a FLUSH must fail that came when so many writes were acknowledged().
  bool flush_must_fail(std::uint64_t acknowledged) const noexcept {
    return doubtful() > 0 && doubt_from_ < acknowledged;
  }
  /// It has failed.
  void told(std::uint64_t acknowledged) noexcept {
    told_ = std::max(told_, acknowledged);
    doubt_from_ = std::max(doubt_from_, std::min(acknowledged, doubt_to_));
  }

  /// Writes, since the beginning.
  std::uint64_t acknowledged() const noexcept { return acknowledged_; }
  /// Those that are in doubt, and not told yet.
  std::uint64_t doubtful() const noexcept { return doubt_to_ - doubt_from_; }
  /// Those that a loss of the cache would lose now.
  std::uint64_t unflushed() const noexcept { return acknowledged_ - flushed_; }

 private:
  std::uint64_t reports_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t covered_ = 0;  // of them, by the last flush that began
  std::uint64_t flushed_ = 0;
  std::uint64_t told_ = 0;        // nobody needs to be told of these again
  std::uint64_t doubt_from_ = 0;  // in doubt: above this, up to doubt_to_
  std::uint64_t doubt_to_ = 0;
};

}  // namespace nbdgw::bridge
