#include "gateway/net/recovery_log.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::net {

using bridge::CacheEvent;
using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;

namespace {

std::string lun_text(std::uint64_t lun) {
  if (lun == RecoveryEvent::kNoLun) return "-";
  const auto number = proto::scsi::decode_lun(lun);
  return number ? std::to_string(*number) : fmt::format("0x{:016x}", lun);
}

log::Level level_of(const CacheEvent& event) {
  switch (event.kind) {
    case CacheEvent::Kind::confirmed:
    case CacheEvent::Kind::grown:
      return log::Level::info;
    case CacheEvent::Kind::rescanned:
      return event.good ? log::Level::info : log::Level::warn;
    case CacheEvent::Kind::in_question:
    case CacheEvent::Kind::threshold:
    case CacheEvent::Kind::same_disk:
      return log::Level::warn;
    case CacheEvent::Kind::in_doubt:
    case CacheEvent::Kind::told:
    case CacheEvent::Kind::refused:
      break;
  }
  return log::Level::error;
}

}  // namespace

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string describe(const std::string& target, const RecoveryEvent& event) {
  const std::string text = fmt::format(
      "target={} session={} cid={} lun={} rung={} cause={} scope={} tasks={} outcome={} duration={:.1f}ms", target,
      event.tsih, event.cid, lun_text(event.lun), to_string(event.rung), in_quotes(event.cause),
      to_string(event.scope), event.tasks, to_string(event.outcome),
      static_cast<double>(event.duration) / proto::kMillisecond);
  return event.proof.empty() ? text : text + " proof=" + in_quotes(event.proof);
}

std::string describe(const std::string& target, const std::string& exported, const CacheEvent& event) {
  const std::string where = fmt::format("export {} (target {}, LUN {})", exported, target, lun_text(event.lun));
  switch (event.kind) {
    case CacheEvent::Kind::in_question:
      return fmt::format(
          "{}: another disk, or none, may be behind the LUN now: {}. Requests are held until it was probed", where,
          event.cause);
    case CacheEvent::Kind::confirmed:
      return fmt::format("{}: the LUN is the disk that it was; requests go on", where);
    case CacheEvent::Kind::refused:
      return fmt::format("{}: the LUN must not be used: {}. Requests fail, and nothing is sent to it", where,
                         event.cause);
    case CacheEvent::Kind::threshold:
      return fmt::format(
          "{}: the thin pool behind the LUN runs low: {}. Writes fail once it is full; extend it, or free some of it",
          where, event.cause);
    case CacheEvent::Kind::same_disk:
      return fmt::format(
          "{}: export(s) {} may serve the same disk, and nothing keeps their writes apart from those of this one: "
          "they "
          "live on other threads (workers: 1 brings them together), or the LUNs do not say for sure which disk they "
          "are. Give each LUN an identity of its own, or serve it once (same_disk: refuse)",
          where, event.cause);
    case CacheEvent::Kind::grown:
      return fmt::format("{}: the LUN is larger: {}", where, event.cause);
    case CacheEvent::Kind::rescanned:
      return fmt::format("{}: the rescan that was asked for has {}: {}", where, event.good ? "ended" : "failed",
                         event.cause);
    case CacheEvent::Kind::in_doubt:
    case CacheEvent::Kind::told:
      break;
  }
  if (event.kind == CacheEvent::Kind::in_doubt) {
    return fmt::format(
        "{}: the target may have lost what was in its volatile cache: {}. {} write(s) that clients have been told "
        "are "
        "done were not flushed, and may be gone; the next FLUSH of each client that is attached will fail",
        where, event.cause, event.writes);
  }
  return fmt::format(
      "{}: {} FLUSH or FUA request(s) failed, because the target may have lost what was in its volatile cache: {}. "
      "What was written since the last FLUSH that succeeded must be taken for lost; check the filesystem or database "
      "on it",
      where, event.requests, event.cause);
}

void RecoveryLog::add(const std::string& target, const RecoveryEvent& event) {
  const bool good_news = event.rung == Rung::relogin && event.outcome == RungOutcome::success;
  log::print({.target = log::target_in(target), .session = event.tsih},
             good_news ? log::Level::info : log::Level::warn, "recovery: {}", describe(target, event));
  keep({.at = wall_now(), .target = target, .exported = {}, .event = event});
}

void RecoveryLog::add(const std::string& target, const std::string& exported, const CacheEvent& event) {
  log::print({.exported = exported, .target = log::target_in(target)}, level_of(event), "{}",
             describe(target, exported, event));
  keep({.at = wall_now(), .target = target, .exported = exported, .event = event});
}

std::uint32_t RecoveryLog::request_of(const RecoveryRecord& record) noexcept {
  return std::visit([](const auto& event) { return event.request_id; }, record.event);
}

void RecoveryLog::observe(Observer observer) {
  const std::lock_guard lock(observer_mutex_);
  observer_ = std::move(observer);
}

void RecoveryLog::keep(RecoveryRecord record) {
  const std::lock_guard telling(observer_mutex_);  // records are told in their order
  {
    const std::lock_guard lock(mutex_);
    record.sequence = ++last_;
    if (ring_.size() < kCapacity) {
      ring_.push_back(record);
    } else {
      ring_[(last_ - 1) % kCapacity] = record;
    }
  }
  if (observer_) observer_(record);
}

std::uint64_t RecoveryLog::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::vector<RecoveryRecord> RecoveryLog::since(std::uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  std::vector<RecoveryRecord> found;
  const std::uint64_t oldest = last_ - ring_.size() + 1;
  for (std::uint64_t n = std::max(oldest, sequence + 1); n <= last_ && n > sequence; ++n) {
    found.push_back(ring_[(n - 1) % kCapacity]);
  }
  return found;
}

}  // namespace nbdgw::net
