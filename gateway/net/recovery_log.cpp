#include "gateway/net/recovery_log.hpp"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "proto/scsi/lun.hpp"

namespace nbdgw::net {

using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;

std::string to_text(const std::string& target, const RecoveryEvent& event) {
  const auto number = proto::scsi::decode_lun(event.lun);  // none: RecoveryEvent::kNoLun
  const std::string lun = number ? std::to_string(*number) : "-";
  return fmt::format(
      "recovery: target={} session={} cid={} lun={} rung={} cause=\"{}\" scope={} tasks={} outcome={} "
      "duration={:.1f}ms",
      target, event.tsih, event.cid, lun, to_string(event.rung), event.cause, to_string(event.scope), event.tasks,
      to_string(event.outcome), static_cast<double>(event.duration) / proto::kMillisecond);
}

void RecoveryLog::add(const std::string& target, const RecoveryEvent& event) {
  const bool good_news = event.rung == Rung::relogin && event.outcome == RungOutcome::success;
  spdlog::log(good_news ? spdlog::level::info : spdlog::level::warn, "{}", to_text(target, event));
  const std::lock_guard lock(mutex_);
  if (entries_.size() == kEntries) entries_.pop_front();
  entries_.push_back({++last_, std::chrono::system_clock::now(), target, event});
}

std::vector<RecoveryEntry> RecoveryLog::since(std::uint64_t number, std::size_t limit) const {
  const std::lock_guard lock(mutex_);
  const auto first = std::partition_point(entries_.begin(), entries_.end(),
                                          [&](const RecoveryEntry& entry) { return entry.number <= number; });
  const auto count = std::min<std::size_t>(limit, static_cast<std::size_t>(entries_.end() - first));
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

std::uint64_t RecoveryLog::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

}  // namespace nbdgw::net
