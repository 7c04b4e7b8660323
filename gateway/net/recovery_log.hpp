#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "gateway/initiator/recovery_event.hpp"

namespace nbdgw::net {

/// One entry of the recovery log.
struct RecoveryEntry {
  std::uint64_t number = 0;  // 1 for the first of the process, without gaps
  std::chrono::system_clock::time_point at;
  std::string target;  // the configuration's name
  initiator::RecoveryEvent event;
};

/// What the escalation ladders of all sessions did lately. Any thread may use it: recovery is rare, so a lock costs
/// nothing that matters.
class RecoveryLog {
 public:
  /// Entries kept; older ones are dropped.
  static constexpr std::size_t kEntries = 1000;

  /// Keeps it, and writes it to the program's log, one line.
  void add(const std::string& target, const initiator::RecoveryEvent& event);

  /// Entries with a number greater than `number`, oldest first, at most `limit`.
  std::vector<RecoveryEntry> since(std::uint64_t number, std::size_t limit = kEntries) const;
  /// The number of the newest entry; 0: there is none.
  std::uint64_t last() const;

 private:
  mutable std::mutex mutex_;
  std::deque<RecoveryEntry> entries_;
  std::uint64_t last_ = 0;
};

/// As in the log: "recovery: target=array session=1 cid=0 lun=1 rung=abort_task cause="..." scope=task tasks=1
/// outcome=success duration=0.4ms".
std::string to_text(const std::string& target, const initiator::RecoveryEvent& event);

}  // namespace nbdgw::net
