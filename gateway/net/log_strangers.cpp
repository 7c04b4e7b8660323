#include "gateway/net/log_strangers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gateway/net/log_text.hpp"

namespace nbdgw::net::log {

namespace {

Level level_of(Stranger what) noexcept {
  return what == Stranger::hostile ? Level::warn : Level::info;
}

}  // namespace

std::optional<Told> Strangers::note(std::string_view peer, const char* reason, std::string_view words, Stranger what,
                                    proto::Micros now) {
  if (!began_ || (counted_ == 0 && now >= told_at_ + kQuietInterval)) {
    began_ = true;
    told_at_ = now;
    return Told{.level = level_of(what),
                .exported = {},
                .target = {},
                .client = std::string(peer),
                .session = 0,
                .text = fmt::format("{}: left before it attached. {} Others that do are counted, and told together",
                                    peer, words)};
  }
  ++counted_;
  worst_ = std::max(worst_, what);
  const auto found = std::ranges::find(reasons_, std::string_view(reason), &Count::reason);
  if (found != reasons_.end()) {
    ++found->count;
  } else if (reasons_.size() < kMaxReasons) {
    reasons_.push_back({reason, 1});
  }
  note_peer(host_of(peer));
  return due(now);
}

void Strangers::note_peer(std::string_view peer) {
  if (std::ranges::find(peers_, peer) != peers_.end()) return;
  if (peers_.size() < kMaxPeers) {
    peers_.emplace_back(peer);
  } else {
    more_peers_ = true;
  }
}

bool Strangers::is_due(proto::Micros now) const noexcept {
  return counted_ > 0 && now >= told_at_ + (worst_ == Stranger::silent ? kQuietInterval : kInterval);
}

std::optional<Told> Strangers::due(proto::Micros now) {
  return is_due(now) ? all(now) : std::nullopt;
}

std::optional<Told> Strangers::all(proto::Micros now) {
  if (counted_ == 0) return std::nullopt;
  std::ranges::stable_sort(reasons_, std::ranges::greater(), &Count::count);
  std::string reasons, peers;
  for (const Count& each : reasons_)
    reasons += fmt::format("{}{} {}", reasons.empty() ? "" : ", ", each.reason, each.count);
  for (const std::string& each : peers_) peers += (peers.empty() ? "" : ", ") + each;
  Told told{.level = level_of(worst_),
            .exported = {},
            .target = {},
            .client = peers_.size() == 1 && !more_peers_ ? peers_[0] : std::string(),
            .session = 0,
            .text = fmt::format("{} connection(s) left before they attached in {} s ({}), from {}{}", counted_,
                                std::max<proto::Micros>((now - told_at_) / proto::kSecond, 1), reasons, peers,
                                more_peers_ ? " and others" : "")};
  told_at_ = now;
  counted_ = 0;
  worst_ = {};
  reasons_.clear();
  peers_.clear();
  more_peers_ = false;
  return told;
}

}  // namespace nbdgw::net::log
