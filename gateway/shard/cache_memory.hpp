#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/shard/retirement.hpp"

namespace nbdgw::shard {

/// What is known of the caches of LUNs that were served: for the exports that come in place of those that go, in the
/// same change of the configuration or a later one, or after a restart.
class CacheMemory {
 public:
  /// LUNs that nobody serves now and that have unflushed writes, or FLUSHes that are to fail; the oldest is
  /// forgotten. So that a configuration that changes all the time does not make the process grow; each has some
  /// hundred bytes.
  static constexpr std::size_t kMost = 256;

  /// Its export has gone.
  void put(ExportLegacy legacy);
  /// An export of this LUN is made. Of several the first one has the debts, so that each is told once.
  std::optional<bridge::CacheLegacy> take(const std::string& iqn, std::uint64_t lun);
  /// Where the session of that target was that a process before this one has left, if one has.
  std::optional<initiator::PortalGroup> place_of(const std::string& iqn) const;
  /// A client has gone that would make another connection.
  void expect(const std::string& iqn, std::uint64_t lun, bridge::CacheLedger::AbsentLegacy absent);
  /// A connection has gone that was owed a failing FLUSH.
  void leave_debt(const std::string& iqn, std::uint64_t lun);
  /// All exports of a configuration are made: what was taken is theirs now, and the rest is kept only if a later
  /// FLUSH has to do with it.
  void settle();
  /// What the next process has to know. After settle().
  std::vector<ExportLegacy> all() const;

 private:
  struct Entry {
    ExportLegacy legacy;
    bool taken = false;
  };
  Entry* find(const std::string& iqn, std::uint64_t lun) noexcept;

  std::vector<Entry> entries_;  // in the order in which they came
};

}  // namespace nbdgw::shard
