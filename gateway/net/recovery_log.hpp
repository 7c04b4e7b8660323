#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "gateway/bridge/cache_event.hpp"
#include "gateway/initiator/recovery_event.hpp"

namespace nbdgw::net {

/// What the gateway did about a misbehaving target, or what has become of one of its LUNs, or of that one's cache.
struct RecoveryRecord {
  std::uint64_t sequence = 0;  // 1, 2, 3, ... over the whole gateway
  std::int64_t at = 0;         // wall clock, microseconds since the epoch
  std::string target;          // the configuration's name
  std::string exported;        // the export's name; only of a CacheEvent
  std::variant<initiator::RecoveryEvent, bridge::CacheEvent> event;
};

/// The last recovery events of the gateway, for the admin API. Any thread may add and read: this is off the data
/// path.
class RecoveryLog {
 public:
  static constexpr std::size_t kCapacity = 1000;

  RecoveryLog() { ring_.reserve(kCapacity); }

  /// Told of every record after it was kept, on the thread that added it: must be quick, and must not add.
  using Observer = std::function<void(const RecoveryRecord&)>;
  /// One; an empty one takes it away. Once this returns, the one before is not running any more.
  void observe(Observer observer);

  /// The number of the request by hand that has led to this record; 0: none has.
  static std::uint32_t request_of(const RecoveryRecord& record) noexcept;

  /// Keeps the event, and writes it to the log: a rung as one line of `key=value`, for machines, too.
  void add(const std::string& target, const initiator::RecoveryEvent& event);
  void add(const std::string& target, const std::string& exported, const bridge::CacheEvent& event);

  /// Those that are left of what came after `sequence`, oldest first. The first one tells by its own number if some
  /// are gone: it is more than one above `sequence`.
  std::vector<RecoveryRecord> since(std::uint64_t sequence) const;
  /// The sequence of the newest record; 0: there has been none.
  std::uint64_t last() const;

 private:
  void keep(RecoveryRecord record);

  std::mutex observer_mutex_;  // taken before mutex_, never after it
  Observer observer_;
  mutable std::mutex mutex_;
  std::vector<RecoveryRecord> ring_;  // of record n at n % kCapacity, once it is full
  std::uint64_t last_ = 0;            // sequence of the newest
};

/// A text in quotes for a log line of `key=value`: what somebody else has said may stand in it, and must neither end
/// the line nor look like another field, so quotes, backslashes and control characters are escaped with a backslash.
std::string in_quotes(std::string_view text);

/// "target=array session=17 cid=0 lun=3 rung=lu_reset cause="..." scope=lun tasks=4 outcome=success duration=12.3ms".
/// Quotes, backslashes and control characters in the cause are escaped with a backslash.
std::string describe(const std::string& target, const initiator::RecoveryEvent& event);

/// In words: what has happened, what it means, and what is to be done.
std::string describe(const std::string& target, const std::string& exported, const bridge::CacheEvent& event);

}  // namespace nbdgw::net
