// Another configuration for a gateway that runs.

#include <algorithm>
#include <utility>

#include "gateway/control/gateway.hpp"
#include "gateway/control/gateway_reload.hpp"
#include "gateway/control/stall.hpp"
#include "gateway/net/log.hpp"
#include "gateway/shard/session_settings.hpp"

namespace nbdgw::control {
namespace {

/// The export goes on, with its clients and all that they have in flight.
bool stays(const config::Config& from, const config::Export& old, const config::Config& to) {
  const config::Export* const exported = export_named(to, old.name);
  if (exported == nullptr) return false;
  const config::Target& a = target_of(from, old);
  const config::Target& b = target_of(to, *exported);
  return a.name == b.name && !session_differs(a, b) && old.lun == exported->lun &&
         old.read_only == exported->read_only;
}

bool session_stays(const config::Target& old, const config::Config& to) {
  const config::Target* const target = target_named(to, old.name);
  return target != nullptr && is_used(to, *target) && !session_differs(old, *target);
}

/// What a restart would make of `workers: auto`, if that is not what there is.
void note_workers(const config::Config& next, std::size_t workers, std::vector<std::string>& needs_restart) {
  const std::uint32_t wanted = config::worker_count(next, std::max(1U, std::thread::hardware_concurrency()));
  if (next.workers != 0 || wanted == workers || std::ranges::count(needs_restart, "workers") > 0) return;
  needs_restart.push_back("workers (auto: " + std::to_string(workers) + " now, a restart makes it " +
                          std::to_string(wanted) + ")");
}

}  // namespace

void Gateway::apply(config::Config next, bool dry_run, OnReload done) {
  on_control([this, next = std::move(next), dry_run, done = std::move(done)]() mutable {
    if (ending_) return done({.kind = ReloadOutcome::Kind::stopping});
    if (reload_ != nullptr) return done({.kind = ReloadOutcome::Kind::busy});
    ConfigDiff found = diff(*config_, next);
    note_workers(next, workers_.size(), found.needs_restart);
    if (dry_run) return done({.kind = ReloadOutcome::Kind::planned, .diff = std::move(found)});
    reload_ = std::make_unique<Reload>(*this, without_restart(*config_, std::move(next)), std::move(found),
                                       std::move(done));
    reload_->begin();
  });
}

void Gateway::Reload::begin() {
  find_leavers();
  tune();
  add(true);
  send_orders([this] { change_over(); });
}

Gateway::Reload::Unit Gateway::Reload::unit_of(const config::Config& config, const config::Export& exported) {
  return {target_of(config, exported).iqn, shard::wire_lun(exported)};
}

void Gateway::Reload::find_leavers() {
  for (const config::Export& exported : old_->exports) {
    if (stays(*old_, exported, *next_)) continue;
    leaving_exports_.insert(exported.name);
    leaving_units_.insert(unit_of(*old_, exported));
  }
  for (const config::Target& target : old_->targets) {
    if (!is_used(*old_, target) || session_stays(target, *next_)) continue;
    leaving_targets_.insert(target.name);
    leaving_iqns_.insert(target.iqn);
  }
}

bool Gateway::Reload::target_can_be_had_now(const config::Target& target) const {
  return !leaving_targets_.contains(target.name) && !leaving_iqns_.contains(target.iqn);
}

bool Gateway::Reload::export_can_be_had_now(const config::Export& exported) const {
  return !leaving_exports_.contains(exported.name) && !leaving_units_.contains(unit_of(*next_, exported)) &&
         target_can_be_had_now(target_of(*next_, exported));
}

/// Orders what is to change of sessions and exports that stay.
void Gateway::Reload::tune() {
  for (std::uint32_t i = 0; i < next_->targets.size(); ++i) {
    const config::Target& target = next_->targets[i];
    const auto home = gateway_.targets_.find(target.name);
    if (home == gateway_.targets_.end() || leaving_targets_.contains(target.name)) continue;
    const config::Target& old = *target_named(*old_, target.name);
    if (old != target)
      net::log::info({.target = target.name}, "target {}: {}", target.name,
                     describe(worst_case_stall(target), target));
    // Always, for the tasks of a session depend on how many exports it has.
    orders_[home->second.worker].tuned_targets.push_back({home->second.driver, shard::session_settings(*next_, i)});
  }
  for (const config::Export& exported : next_->exports) {
    const auto home = gateway_.exports_.find(exported.name);
    if (home == gateway_.exports_.end() || leaving_exports_.contains(exported.name)) continue;
    orders_[home->second.worker].tuned_exports.push_back(
        {home->second.slot, shard::export_config(*next_, exported), exported.required});
  }
}

/// Orders what is configured and not there, all of it or what is in the way of nothing that goes.
void Gateway::Reload::add(bool only_at_once) {
  for (const config::Export& exported : next_->exports) {
    if (gateway_.exports_.contains(exported.name)) continue;  // is there, or leaves yet
    if (only_at_once && !export_can_be_had_now(exported)) continue;
    add_target_and_export(exported.target, exported);
  }
}

void Gateway::Reload::add_target_and_export(std::uint32_t index, const config::Export& exported) {
  const std::string& name = next_->targets[index].name;
  if (!gateway_.targets_.contains(name)) {
    shard::Worker& worker = gateway_.least_loaded_worker();
    orders_[&worker].new_targets.push_back(gateway_.order_target(*next_, index, worker));
  }
  shard::WorkOrder::NewExport order{
      .config = shard::export_config(*next_, exported), .required = exported.required, .target = name};
  if (const auto state = states_.find(exported.name); state != states_.end()) order.admin_state = state->second;
  const auto [iqn, lun] = unit_of(*next_, exported);
  order.cache = gateway_.caches_.take(iqn, lun);
  order.record = gateway_.record_of(iqn, lun, exported.name);
  orders_[gateway_.targets_[name].worker].new_exports.push_back(std::move(order));
}

/// Has the orders carried out, each by its shard; goes on, and has verbs know what was made, when the last is done.
void Gateway::Reload::send_orders(Step then) {
  if (orders_.empty()) return then();
  using Made = std::pair<shard::Worker*, shard::WorkDone>;
  shard::Gather<Made> gather(orders_.size(), [&gateway = gateway_, then = std::move(then)](auto made) {
    if (!shard::all_answered(made)) return;  // a shard has ended: so does the gateway, and this reload with it
    gateway.on_control([&gateway, then, made = std::move(made)] {
      for (const auto& each : made) gateway.note_made(*each->first, each->second);
      then();
    });
  });
  for (auto& [worker, order] : std::exchange(orders_, {})) {
    worker->shard.post([&gateway = gateway_, worker = worker, order = std::move(order),
                        part = gather.part()](proto::Micros now) mutable {
      part.answer({worker, worker->carry_out(std::move(order), gateway.resolver_, gateway.events_, now)});
    });
  }
}

/// From here on the new configuration is what new clients see. What goes is told to go. What each shard leaves is
/// noted as it comes, not when the last is done: a restart in the middle must find it.
void Gateway::Reload::change_over() {
  std::map<shard::Worker*, shard::Retirement::Leavers> leavers;
  for (const std::string& name : leaving_exports_) {
    const auto home = gateway_.exports_.extract(name);
    leavers[home.mapped().worker].exports.push_back(home.mapped().slot);
  }
  for (const std::string& name : leaving_targets_) {
    const auto home = gateway_.targets_.extract(name);
    leavers[home.mapped().worker].drivers.push_back(home.mapped().driver);
    gateway_.numbers_.give_back(home.mapped().number);
  }
  gateway_.put_in_force(*next_);
  gateway_.publish_places();
  if (leavers.empty()) return finish(ReloadOutcome::Kind::applied);
  retiring_ = leavers.size();
  for (auto& [worker, leaving] : leavers) {
    worker->shard.post([this, worker = worker, leaving = std::move(leaving)](proto::Micros now) mutable {
      worker->shard.add_chore(std::make_unique<shard::Retirement>(
          worker->shard, worker->drivers, worker->exports, std::move(leaving), gateway_.options_.drain_limit,
          [this](std::vector<shard::ExportLegacy> legacies) {
            gateway_.on_control([this, gone = std::move(legacies)]() mutable { note_retired(std::move(gone)); });
          },
          now));
    });
  }
}

void Gateway::Reload::note_retired(std::vector<shard::ExportLegacy> legacies) {
  for (shard::ExportLegacy& legacy : legacies) {
    states_[legacy.name] = legacy.admin_state;
    if (gateway_.record_ != nullptr) gateway_.record_->give_back(legacy.iqn, legacy.lun, legacy.name);
    gateway_.caches_.put(std::move(legacy));
  }
  if (--retiring_ > 0) return;
  if (gateway_.ending_) return finish(ReloadOutcome::Kind::stopping);
  add(false);
  send_orders([this] {
    gateway_.publish_places();
    finish(ReloadOutcome::Kind::applied);
  });
}

void Gateway::Reload::finish(ReloadOutcome::Kind kind) {
  gateway_.caches_.settle();
  if (gateway_.record_ != nullptr) gateway_.record_->settle();
  const std::unique_ptr<Reload> self = std::move(gateway_.reload_);  // another one may be asked for by done_
  done_({.kind = kind, .diff = std::move(diff_)});
}

}  // namespace nbdgw::control
