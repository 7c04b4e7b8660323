#include "gateway/shard/cache_memory.hpp"

#include <algorithm>
#include <utility>

#include "gateway/net/log.hpp"

namespace nbdgw::shard {

namespace {

/// Of both. If it is not known where some of them are, it is of none.
void absorb_left(bridge::CacheLegacy& legacy, const bridge::CacheLegacy& other) {
  if (!other.writes_left) {
    if (!legacy.writes_left && legacy.left.empty()) legacy.left = other.left;  // no more than where its session was
    return;
  }
  if (!legacy.writes_left) {
    legacy.left = other.left;  // the same of its own
  } else if (legacy.left.empty() || other.left.empty()) {
    legacy.left.clear();
  } else {
    for (const initiator::LeftWrites& each : other.left) initiator::note_left(legacy.left, each);
  }
  legacy.writes_left = true;
}

}  // namespace

CacheMemory::Entry* CacheMemory::find(const std::string& iqn, std::uint64_t lun) noexcept {
  const auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.legacy.iqn == iqn && entry.legacy.lun == lun; });
  return found == entries_.end() ? nullptr : &*found;
}

namespace {

/// Both were of one LUN. Of what cannot be added the worse is assumed.
void merge(bridge::CacheLegacy& to, const bridge::CacheLegacy& from) {
  to.cache.absorb(from.cache);
  to.unjudged = to.unjudged || from.unjudged;
  to.seen_at = std::min(to.seen_at, from.seen_at);
  to.absent.insert(to.absent.end(), from.absent.begin(), from.absent.end());
  absorb_left(to, from);
}

}  // namespace

void CacheMemory::put(ExportLegacy legacy) {
  Entry* const known = find(legacy.iqn, legacy.lun);
  if (known == nullptr) {
    entries_.push_back({.legacy = std::move(legacy)});
    return;
  }
  // Another export of the LUN has gone before. What it left is forgotten if it was taken, by this one maybe.
  if (!known->taken) merge(legacy.cache, known->legacy.cache);
  *known = {.legacy = std::move(legacy)};
}

std::optional<bridge::CacheLegacy> CacheMemory::take(const std::string& iqn, std::uint64_t lun) {
  Entry* const entry = find(iqn, lun);
  if (entry == nullptr) return std::nullopt;
  const bridge::CacheLegacy legacy = entry->legacy.cache;
  entry->legacy.cache.cache.drop_debts();
  entry->taken = true;
  return legacy;
}

std::optional<initiator::PortalGroup> CacheMemory::place_of(const std::string& iqn) const {
  for (const Entry& entry : entries_) {
    const auto& left = entry.legacy.cache.left;
    if (!entry.taken && entry.legacy.iqn == iqn && !left.empty()) return left.front().group;
  }
  return std::nullopt;
}

void CacheMemory::expect(const std::string& iqn, std::uint64_t lun, bridge::CacheLedger::AbsentLegacy absent) {
  if (Entry* const entry = find(iqn, lun); entry != nullptr) entry->legacy.cache.absent.push_back(std::move(absent));
}

void CacheMemory::leave_debt(const std::string& iqn, std::uint64_t lun) {
  if (Entry* const entry = find(iqn, lun); entry != nullptr) entry->legacy.cache.cache.leave_debt(1);
}

void CacheMemory::settle() {
  std::erase_if(entries_, [](const Entry& entry) {
    const bridge::CacheLegacy& legacy = entry.legacy.cache;
    return entry.taken || (!legacy.cache.matters() && !legacy.writes_left);
  });
  for (Entry& entry : entries_) entry.legacy.cache.gap = true;
  while (entries_.size() > kMost) {
    const ExportLegacy& oldest = entries_.front().legacy;
    net::log::warn({.exported = oldest.name},
                   "too many LUNs were taken away with writes not flushed: those of export {} are not known any more",
                   oldest.name);
    entries_.erase(entries_.begin());
  }
}

std::vector<ExportLegacy> CacheMemory::all() const {
  std::vector<ExportLegacy> legacies;
  for (const Entry& entry : entries_) legacies.push_back(entry.legacy);
  return legacies;
}

}  // namespace nbdgw::shard
