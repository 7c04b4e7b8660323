#include "gateway/shard/refusals.hpp"

#include <algorithm>

namespace nbdgw::shard {

const char* to_string(Refusal reason) noexcept {
  switch (reason) {
    case Refusal::limit:
      return "limit";
    case Refusal::open_files:
      return "open_files";
    case Refusal::drained:
      return "drained";
    case Refusal::closed:
      return "export_closed";
    case Refusal::no_export:
      return "unknown_export";
    case Refusal::offline:
      return "export_offline";
  }
  return "?";
}

Refusals::Told Refusals::note(Refusal reason, const std::string& exported, const std::string& peer,
                              proto::Micros now) {
  const auto same = [&](const Kind& kind) {
    return kind.latest.reason == reason && kind.latest.exported == exported;
  };
  auto kind = std::ranges::find_if(kinds_, same);
  if (kind == kinds_.end() && kinds_.size() >= kKinds) {
    // Too many names: with the others of its reason, or of any.
    kind = std::ranges::find_if(kinds_, [&](const Kind& each) { return each.latest.reason == reason; });
    if (kind == kinds_.end()) kind = kinds_.end() - 1;
  }
  if (kind == kinds_.end()) {
    kinds_.push_back({.latest = {.reason = reason, .exported = exported, .peer = peer}, .told_at = now});
    Told first = kinds_.back().latest;
    first.count = 1;
    return first;
  }
  const std::uint64_t count = kind->latest.count + 1;
  kind->latest = {.reason = reason, .exported = exported, .peer = peer, .count = count};
  return {};
}

std::vector<Refusals::Told> Refusals::due(proto::Micros now, bool all) {
  std::vector<Told> told;
  std::erase_if(kinds_, [&](Kind& kind) {
    if (!all && kind.told_at + kInterval > now) return false;
    if (kind.latest.count == 0) return true;
    kind.latest.over = now - kind.told_at;
    told.push_back(kind.latest);
    kind.latest.count = 0;
    kind.latest.over = 0;
    kind.told_at = now;
    return false;
  });
  return told;
}

}  // namespace nbdgw::shard
