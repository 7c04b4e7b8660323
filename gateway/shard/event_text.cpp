#include "gateway/shard/event_text.hpp"

#include <fmt/format.h>

#include "gateway/net/log_text.hpp"
#include "proto/nbd/names.hpp"
#include "proto/scsi/lun.hpp"
#include "proto/scsi/names.hpp"

namespace nbdgw::shard {

using bridge::CacheEvent;
using bridge::RequestFailure;
using initiator::RecoveryEvent;

namespace {

std::string place_of(const std::string& target, const std::string& exported, std::uint64_t lun) {
  return fmt::format("export {} (target {}, LUN {})", exported, target, lun_text(lun));
}

std::string expired_text(const CacheEvent& event) {
  std::string text = event.duration == 0
                         ? fmt::format("there is no path to the LUN: {}", event.cause)
                         : fmt::format("there has been no path to the LUN for {} (timeouts.replacement): {}",
                                       lasted(event.duration), event.cause);
  text += ". Requests fail until there is one again";
  if (event.requests > 0) text += fmt::format("; {} that were held fail now", event.requests);
  return text;
}

/// "4096 bytes at 1048576: READ(16) of 8 block(s) at LBA 2048, sent 6 times: CHECK CONDITION: ...".
std::string details(const RequestFailure& event) {
  std::string text;
  if (event.request != proto::nbd::Command::flush) {
    text = fmt::format("{} bytes at {}", event.length, event.offset);
    if (!event.command) text += fmt::format(" (LBA {})", event.lba);
    text += ": ";
  }
  if (event.command) {
    text += proto::scsi::opcode_text(event.command->opcode);
    if (event.command->blocks > 0) {
      text += fmt::format(" of {} block(s) at LBA {}", event.command->blocks, event.command->lba);
    }
    text += event.command->tries == 1 ? ", sent once: " : fmt::format(", sent {} times: ", event.command->tries);
  }
  return text + explain(event);
}

}  // namespace

const char* request_name(proto::nbd::Command command) noexcept {
  using proto::nbd::Command;
  switch (command) {
    case Command::read:
      return "READ";
    case Command::write:
      return "WRITE";
    case Command::flush:
      return "FLUSH";
    case Command::trim:
      return "TRIM";
    case Command::write_zeroes:
      return "WRITE_ZEROES";
    default:
      return proto::nbd::to_string(command);
  }
}

std::string lun_text(std::uint64_t lun) {
  if (lun == RecoveryEvent::kNoLun) return "-";
  const auto number = proto::scsi::decode_lun(lun);
  return number ? std::to_string(*number) : fmt::format("0x{:016x}", lun);
}

std::string describe(const std::string& target, const RecoveryEvent& event) {
  const std::string text = fmt::format(
      "target={} session={} cid={} lun={} rung={} cause={} scope={} tasks={} outcome={} duration={:.1f}ms", target,
      event.tsih, event.cid, lun_text(event.lun), to_string(event.rung),
      net::log::quoted(event.cause, net::log::kWhole), to_string(event.scope), event.tasks, to_string(event.outcome),
      static_cast<double>(event.duration) / proto::kMillisecond);
  return event.proof.empty() ? text : text + " proof=" + net::log::quoted(event.proof, net::log::kWhole);
}

std::string describe(const std::string& target, const RungBegun& event) {
  const RecoveryEvent& rung = event.rung;
  std::string text = fmt::format("target {} {}", target, initiator::now_text(rung.rung));
  if (rung.lun != RecoveryEvent::kNoLun) text += " (LUN " + lun_text(rung.lun) + ")";
  return text + ": " + rung.cause;
}

std::string describe(const std::string& target, const std::string& exported, const RequestFailure& event) {
  const std::string where = place_of(target, exported, event.lun);
  const char* const error = proto::nbd::to_string(event.error);
  if (event.over == 0) {
    return fmt::format("{}: a {} failed with {}, of {}", where, request_name(event.request), error, details(event));
  }
  if (event.mixed) {
    return fmt::format("{}: {} more requests failed in {}, for several reasons; the latest is a {} with {}, of {}",
                       where, event.count, lasted(event.over), request_name(event.request), error, details(event));
  }
  return fmt::format("{}: a {} failed {} more time(s) with {} in {}, the latest of {}", where,
                     request_name(event.request), event.count, error, lasted(event.over), details(event));
}

std::string describe(const std::string& target, const std::string& exported, const StateEvent& event) {
  if (!exported.empty()) return fmt::format("export {}: {}", exported, event.text);
  return target.empty() ? event.text : fmt::format("target {}: {}", target, event.text);
}

std::string describe(const std::string& target, const std::string& exported, const CacheEvent& event) {
  const std::string where = place_of(target, exported, event.lun);
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
          "they live on other threads (workers: 1 brings them together), or the LUNs do not say for sure which disk "
          "they "
          "are. Give each LUN an identity of its own, or serve it once (same_disk: refuse)",
          where, event.cause);
    case CacheEvent::Kind::grown:
      return fmt::format("{}: the LUN is larger: {}", where, event.cause);
    case CacheEvent::Kind::rescanned:
      return fmt::format("{}: the rescan that was asked for has {}: {}", where, event.good ? "ended" : "failed",
                         event.cause);
    case CacheEvent::Kind::hold_expired:
      return where + ": " + expired_text(event);
    case CacheEvent::Kind::hold_over:
      return fmt::format(
          "{}: there is a path to the LUN again, and requests work: for {} they did not, and {} failed", where,
          lasted(event.duration), event.requests);
    case CacheEvent::Kind::in_doubt:
    case CacheEvent::Kind::told:
      break;
  }
  if (event.kind == CacheEvent::Kind::in_doubt) {
    return fmt::format(
        "{}: the target may have lost what was in its volatile cache: {}. {} write(s) that clients have been told "
        "are done were not flushed, and may be gone; the next FLUSH of each client that is attached will fail",
        where, event.cause, event.writes);
  }
  return fmt::format(
      "{}: {} FLUSH or FUA request(s) failed, because the target may have lost what was in its volatile cache: {}. "
      "What was written since the last FLUSH that succeeded must be taken for lost; check the filesystem or database "
      "on it",
      where, event.requests, event.cause);
}

}  // namespace nbdgw::shard
