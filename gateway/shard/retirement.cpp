#include "gateway/shard/retirement.hpp"

#include <algorithm>
#include <utility>

#include "gateway/net/log.hpp"

namespace nbdgw::shard {
namespace {

template <typename T>
void erase_owned(std::vector<std::unique_ptr<T>>& owners, const T& object) {
  std::erase_if(owners, [&](const auto& owner) { return owner.get() == &object; });
}

}  // namespace

Retirement::Retirement(Shard& shard, Drivers& drivers, Exports& exports, Leavers leavers, proto::Micros limit,
                       Done done, proto::Micros now)
    : shard_(shard),
      drivers_(drivers),
      exports_(exports),
      leavers_(std::move(leavers)),
      deadline_(now + limit),
      done_(std::move(done)) {
  for (SessionExport* slot : leavers_.exports) {
    const std::size_t clients = shard_.client_count(*slot);
    net::log::info({.exported = slot->name()}, "export {}: taken away; {} client(s) finish what is in flight",
                   slot->name(), clients);
    shard_.remove_export(*slot, limit, now);
  }
}

ExportLegacy legacy_of(const SessionExport& slot, proto::Micros now) {
  const bridge::Export& exported = slot.exported();
  return {.name = slot.name(),
          .iqn = slot.driver().session().settings().target_name,
          .lun = exported.unit().lun(),
          .admin_state = slot.admin_state(),
          .cache = exported.cache_legacy(now)};
}

bool Retirement::advance(proto::Micros now) {
  late_ = now >= deadline_;
  std::erase_if(leavers_.exports, [&](SessionExport* slot) { return free_if_idle(*slot, now); });
  std::erase_if(leavers_.drivers, [&](SessionDriver* driver) { return advance(*driver, now); });
  if (!leavers_.empty()) return false;
  done_(std::move(legacies_));
  return true;
}

bool Retirement::free_if_idle(SessionExport& slot, proto::Micros now) {
  bridge::Export& exported = slot.exported();
  if (shard_.client_count(slot) > 0 || !exported.idle()) return false;
  SessionDriver& driver = slot.driver();
  legacies_.push_back(legacy_of(slot, now));
  // Debts stay with the disk, as long as somebody serves it.
  if (exported.disk()->exports.size() > 1) legacies_.back().cache.cache.drop_debts();
  net::log::info({.exported = slot.name()}, "export {}: gone", slot.name());
  driver.remove_export(exported, now);
  erase_owned(exports_, slot);
  return true;
}

bool Retirement::advance(SessionDriver& driver, proto::Micros now) {
  initiator::Session& session = driver.session();
  const auto mine = [&](const SessionExport* slot) { return &slot->driver() == &driver; };
  const bool any_export = std::ranges::any_of(leavers_.exports, mine);
  if (session.state() == initiator::SessionState::terminated) {
    // Whatever was with it has been handed back; the exports go as soon as they have seen it.
    if (any_export) return false;
    net::log::info({.target = session.settings().label}, "target {}: gone", session.settings().label);
    shard_.remove_station(driver);
    erase_owned(drivers_, driver);
    shard_.host().erase(session);
    return true;
  }
  const bool any_client = std::ranges::any_of(
      leavers_.exports, [&](const SessionExport* slot) { return mine(slot) && shard_.client_count(*slot) > 0; });
  const bool stopping = std::ranges::find(stopping_, &driver) != stopping_.end();
  if (!stopping && (!any_export || (late_ && !any_client))) {
    stopping_.push_back(&driver);
    session.teardown(now);
  }
  return false;
}

proto::Micros Retirement::next_deadline() const noexcept {
  return late_ ? proto::kNever : deadline_;
}

}  // namespace nbdgw::shard
