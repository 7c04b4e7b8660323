#include "gateway/shard/worker.hpp"

#include <algorithm>
#include <set>

#include "gateway/net/clock.hpp"
#include "gateway/shard/kept_state.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/view_parts.hpp"
#include "proto/assert.hpp"

namespace nbdgw::shard {

WorkDone Worker::carry_out(WorkOrder order, net::Resolver& resolver, EventLog& events, proto::Micros now) {
  for (const WorkOrder::TunedTarget& tuned : order.tuned_targets) {
    tuned.driver->session().retune(tuned.settings);
  }
  for (const WorkOrder::TunedExport& tuned : order.tuned_exports) {
    tuned.slot->exported().retune(tuned.config, now);
    tuned.slot->set_required(tuned.required);
  }
  WorkDone done;
  for (WorkOrder::NewTarget& target : order.new_targets) {
    initiator::Session& session = shard.host().add(std::move(target.settings), target.number, now);
    SessionDriver& driver = *drivers.emplace_back(std::make_unique<SessionDriver>(shard, resolver, events, session));
    shard.add_station(driver);
    done.targets.emplace_back(session.settings().label, &driver);
  }
  for (WorkOrder::NewExport& exported : order.new_exports) {
    SessionExport& slot = add(std::move(exported), now);
    done.exports.emplace_back(slot.name(), &slot);
  }
  return done;
}

ShardView Worker::view(const ViewOptions& options, proto::Micros now) const {
  ShardParts parts{.shard = shard, .exports = {}, .drivers = {}};
  for (const auto& slot : exports) parts.exports.push_back(slot.get());
  for (const auto& driver : drivers) parts.drivers.push_back(driver.get());
  return view_of(parts, options.clients, now);
}

void Worker::take_kept(KeptState& state) {
  for (const auto& client : shard.clients()) {
    if (!client->parked()) continue;
    KeptClient kept = client->kept();
    const ExportSlot* slot = shard.find_export(kept.connection.info.name);
    const auto here = std::ranges::find_if(exports, [&](const auto& each) { return each.get() == slot; });
    if (here == exports.end()) continue;  // a reload has taken it away at the last moment
    kept.iqn = (*here)->driver().session().settings().target_name;
    kept.lun = (*here)->exported().unit().lun();
    state.clients.push_back(std::move(kept));
  }
  std::set<const bridge::Disk*> told;
  for (const auto& slot : exports) {
    const bridge::Export& exported = slot->exported();
    if (!exported.cache().matters() && !exported.leaves_writes() && !exported.cache().expects_somebody()) continue;
    state.exports.push_back(legacy_of(*slot, net::steady_now()));
    // Of several exports of a disk one takes the debts along.
    if (!told.insert(exported.disk().get()).second) state.exports.back().cache.cache.drop_debts();
  }
}

SessionExport& Worker::add(WorkOrder::NewExport order, proto::Micros now) {
  const auto driver = std::ranges::find(
      drivers, order.target, [](const auto& each) -> const std::string& { return each->session().settings().label; });
  NBDGW_ASSERT(driver != drivers.end(), "an export comes after its target");
  SessionExport& slot = *exports.emplace_back(
      std::make_unique<SessionExport>(std::move(order.config), shard.shares(), **driver, &disks, now));
  slot.set_required(order.required);
  slot.set_admin_state(order.admin_state);
  slot.set_closed_since(now);
  if (order.cache) slot.exported().inherit(*order.cache);
  slot.exported().record_in(order.record);
  (*driver)->add_export(slot.exported(), now);
  shard.add_export(slot);
  return slot;
}

}  // namespace nbdgw::shard
