#include "gateway/net/log_fold.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "gateway/net/log_text.hpp"

namespace nbdgw::net::log {

namespace {

/// The hash of what could not be told apart.
constexpr std::uint64_t kRest = 0;

std::uint64_t hash_of(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text.append(part).push_back('\0');
  return std::max<std::uint64_t>(std::hash<std::string>{}(text), kRest + 1);
}

std::uint64_t hash_of(const Subject& subject) {
  return hash_of({subject.exported, subject.target, host_of(subject.client)});
}

}  // namespace

Folder::Entry& Folder::entry_for(std::uint64_t subject, std::uint64_t kind, proto::Micros now) {
  const auto find = [this](std::uint64_t of, std::uint64_t which) {
    return std::ranges::find_if(entries_,
                                [&](const Entry& each) { return each.subject == of && each.kind == which; });
  };
  auto found = find(subject, kind);
  if (found != entries_.end()) return *found;
  if (entries_.size() + 1 >= kMaxEntries) forget(now);
  // One place is kept for the rest.
  if (entries_.size() + 1 >= kMaxEntries) {
    subject = kind = kRest;
  } else if (std::ranges::count(entries_, subject, &Entry::subject) >= static_cast<std::ptrdiff_t>(kMaxKinds)) {
    kind = kRest;
  }
  found = find(subject, kind);
  if (found != entries_.end()) return *found;
  Entry& made = entries_.emplace_back();
  made.subject = subject;
  made.kind = kind;
  made.began = now;
  return made;
}

bool Folder::take(const Kind& kind, const Subject& subject, Level level, std::string_view text, proto::Micros now,
                  std::vector<Told>& due) {
  Entry& entry = entry_for(hash_of(subject), hash_of({kind.name}), now);
  if (now >= entry.began + kInterval && entry.counted == 0) {
    entry.began = now;
    entry.told = 0;
  }
  if (entry.counted == 0 && entry.told < kind.at_once) {
    ++entry.told;
    return true;
  }
  ++entry.counted;
  entry.latest = {.level = level,
                  .exported = std::string(subject.exported),
                  .target = std::string(subject.target),
                  .client = std::string(subject.client),
                  .session = subject.session,
                  .text = shortened(text, kMaxMessage)};
  if (now >= entry.began + kInterval) tell(entry, now, due);
  return false;
}

void Folder::tell(Entry& entry, proto::Micros now, std::vector<Told>& out) {
  const proto::Micros seconds = std::max<proto::Micros>((now - entry.began + proto::kSecond / 2) / proto::kSecond, 1);
  const std::string times = entry.counted == 1 ? "once" : fmt::format("{} times", entry.counted);
  entry.latest.text +=
      entry.subject == kRest
          ? fmt::format(" (and {} lines of others in {} s, too many to tell apart)", entry.counted - 1, seconds)
          : fmt::format(" ({} more in {} s)", times, seconds);
  out.push_back(std::move(entry.latest));
  entry.latest = {};
  entry.counted = 0;
  entry.began = now;
  ++entry.told;  // what goes on is counted at once
}

void Folder::tell(const Subject& subject, proto::Micros now, std::vector<Told>& out) {
  const std::uint64_t wanted = hash_of(subject);
  for (Entry& entry : entries_)
    if (entry.subject == wanted && entry.counted > 0) tell(entry, now, out);
}

void Folder::tell_due(proto::Micros now, std::vector<Told>& due) {
  for (Entry& entry : entries_)
    if (entry.counted > 0 && now >= entry.began + kInterval) tell(entry, now, due);
  forget(now);
}

void Folder::tell_all(proto::Micros now, std::vector<Told>& out) {
  for (Entry& entry : entries_)
    if (entry.counted > 0) tell(entry, now, out);
}

void Folder::forget(proto::Micros now) {
  std::erase_if(entries_, [now](const Entry& each) { return each.counted == 0 && now >= each.began + kInterval; });
}

}  // namespace nbdgw::net::log
