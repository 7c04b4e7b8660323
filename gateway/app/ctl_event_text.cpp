#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/app/ctl_members.hpp"
#include "gateway/app/ctl_text.hpp"

namespace nbdgw::app {

namespace json = boost::json;
using members::at;
using members::plain;
using members::seconds;
using members::text;

namespace {

/// ", sent 6 times".
std::string tries(const json::value& event) {
  const std::string times = text(event, "tries");
  return times == "1" ? ", sent once" : fmt::format(", sent {} times", times);
}

std::string failure_text(const json::value& event) {
  const bool folded = !at(event, "duration_seconds").is_null();
  std::string out = text(event, "request") + " failed ";
  if (folded) out += fmt::format("{} more time(s) in {} ", text(event, "count"), seconds(event, "duration_seconds"));
  out += "with " + text(event, "error");
  if (!at(event, "length_bytes").is_null()) {
    out += fmt::format(", {}{} bytes at {}, LBA {}", folded ? "the latest " : "", text(event, "length_bytes"),
                       text(event, "offset"), text(event, "lba"));
  }
  if (!at(event, "opcode").is_null()) {
    out += ", " + text(event, "opcode");
    if (!at(event, "blocks").is_null()) out += fmt::format(" of {} block(s)", text(event, "blocks"));
    out += tries(event);
  }
  return out + ": " + text(event, "cause");
}

std::string rung_text(const json::value& event) {
  std::string out = fmt::format("{} {} in {}, {} task(s): {}", text(event, "rung"), text(event, "outcome"),
                                seconds(event, "duration_seconds"), text(event, "tasks"), text(event, "cause"));
  if (const json::value& proof = at(event, "proof"); !proof.is_null()) out += "; proof: " + plain(proof);
  if (const json::value& operation = at(event, "operation"); !operation.is_null()) {
    out += fmt::format(" (operation {})", plain(operation));
  }
  return out;
}

/// What has become of a LUN, or of its cache.
std::string unit_text(const json::value& event, const std::string& kind) {
  if (kind.starts_with("cache_")) {
    return fmt::format("{}, {} write(s): {}",
                       kind == "cache_told" ? "a FLUSH has failed, the cache was lost" : "the cache may be lost",
                       text(event, "writes"), text(event, "cause"));
  }
  if (kind == "hold_expired") {
    return fmt::format("requests fail, {} that were held, too, after {} without a path: {}", text(event, "requests"),
                       seconds(event, "duration_seconds"), text(event, "cause"));
  }
  if (kind == "hold_over") {
    return fmt::format("requests work again after {}, in which {} failed", seconds(event, "duration_seconds"),
                       text(event, "requests"));
  }
  return kind + ": " + text(event, "cause");
}

}  // namespace

std::string event_text(const json::value& event) {
  const std::string kind = text(event, "kind");
  std::string out = fmt::format("{}  {:>5}  {}", text(event, "at"), text(event, "sequence"), text(event, "target"));
  if (const json::value& lun = at(event, "lun"); !lun.is_null()) out += " LUN " + plain(lun);
  out += "  ";
  if (kind == "rung") return out + rung_text(event);
  if (kind == "rung_begun") return out + text(event, "text") + ": " + text(event, "cause");
  if (!at(event, "export").is_null()) out += "export " + text(event, "export") + ": ";
  if (kind == "request_failed") return out + failure_text(event);
  const json::value& words = at(event, "text");  // of a state
  return out + (words.is_null() ? unit_text(event, kind) : kind + ": " + plain(words));
}

}  // namespace nbdgw::app
