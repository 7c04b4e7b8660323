#include "tests/sim/reload.hpp"

#include <algorithm>
#include <memory>
#include <tuple>

#include "gateway/net/clock.hpp"

namespace nbdgw::sim {
namespace {

const GatewaySetup::Target* target_labelled(const std::vector<GatewaySetup::Target>& targets,
                                            const std::string& label) {
  for (const GatewaySetup::Target& target : targets) {
    if (target.settings.label == label) return &target;
  }
  return nullptr;
}

const bridge::ExportConfig* export_named(const GatewaySetup::Target& target, const std::string& name) {
  const auto found = std::ranges::find(target.exports, name, &bridge::ExportConfig::name);
  return found == target.exports.end() ? nullptr : &*found;
}

/// What a session is logged in with (gateway/control/config_diff.cpp), as far as the world draws it.
bool session_differs(const initiator::SessionSettings& a, const initiator::SessionSettings& b) {
  const auto key = [](const initiator::SessionSettings& s) {
    return std::tuple(s.connections, s.header_digest, s.data_digest, s.immediate_data, s.initial_r2t,
                      s.first_burst_length, s.max_burst_length, s.max_recv_data_segment_length);
  };
  return key(a) != key(b);
}

}  // namespace

void Reload::begin() {
  find_leavers();
  tune();
  add(true);
  send_orders([this] { change_over(); });
}

/// A target without exports has no session.
void Reload::find_leavers() {
  for (const GatewaySetup::Target& old : old_) {
    const std::string& label = old.settings.label;
    const GatewaySetup::Target* const next = target_labelled(next_, label);
    const bool stays = next != nullptr && !next->exports.empty() && !session_differs(old.settings, next->settings);
    if (!stays && gateway_.targets_.contains(label)) leaving_targets_.insert(label);
    for (const bridge::ExportConfig& exported : old.exports) {
      if (!stays || export_named(*next, exported.name) == nullptr) leaving_exports_.insert(exported.name);
    }
  }
}

void Reload::tune() {
  for (const GatewaySetup::Target& target : next_) {
    const auto home = gateway_.targets_.find(target.settings.label);
    if (home == gateway_.targets_.end() || leaving_targets_.contains(target.settings.label)) continue;
    shard::WorkOrder& order = orders_[home->second.worker->shard.index()];
    order.tuned_targets.push_back({home->second.driver, target.settings});
    for (const bridge::ExportConfig& exported : target.exports) {
      const auto place = gateway_.exports_.find(exported.name);
      if (place == gateway_.exports_.end() || leaving_exports_.contains(exported.name)) continue;
      order.tuned_exports.push_back({place->second.slot, exported, true});
    }
  }
}

bool Reload::can_be_had_now(const GatewaySetup::Target& target, const bridge::ExportConfig& exported) const {
  return !leaving_targets_.contains(target.settings.label) && !leaving_exports_.contains(exported.name);
}

/// Orders what is configured and not there, all of it or what is in the way of nothing that goes.
void Reload::add(bool only_at_once) {
  for (const GatewaySetup::Target& target : next_) {
    const std::string& label = target.settings.label;
    for (const bridge::ExportConfig& exported : target.exports) {
      if (gateway_.exports_.contains(exported.name)) continue;
      if (only_at_once && !can_be_had_now(target, exported)) continue;
      if (!gateway_.targets_.contains(label)) {
        shard::Worker& worker = gateway_.least_loaded_worker();
        orders_[worker.shard.index()].new_targets.push_back(gateway_.order_target(target));
        gateway_.targets_[label] = {&worker, nullptr};
      }
      shard::WorkOrder::NewExport order = gateway_.order_export(target, exported);
      if (const auto state = states_.find(exported.name); state != states_.end()) order.admin_state = state->second;
      orders_[gateway_.targets_[label].worker->shard.index()].new_exports.push_back(std::move(order));
    }
  }
}

/// Has the orders carried out, each by its shard; goes on when the last is done.
void Reload::send_orders(Step then) {
  if (orders_.empty()) return then();
  unanswered_ = orders_.size();
  for (auto& [index, order] : std::exchange(orders_, {})) {
    shard::Worker& worker = *gateway_.workers_[index];
    worker.shard.post([this, &worker, order = std::move(order), then](Micros) mutable {
      shard::WorkDone made = gateway_.carry_out(worker, std::move(order));
      gateway_.on_control([this, &worker, made = std::move(made), then] {
        gateway_.note_made(worker, made);
        if (--unanswered_ == 0) then();
      });
    });
  }
}

/// From here on the new configuration is what new clients see. What goes is told to go.
void Reload::change_over() {
  std::map<std::uint32_t, shard::Retirement::Leavers> leavers;
  for (const std::string& name : leaving_exports_) {
    const auto home = gateway_.exports_.extract(name);
    gateway_.observer_.on_export_leaves(name);
    leavers[home.mapped().worker->shard.index()].exports.push_back(home.mapped().slot);
  }
  for (const std::string& label : leaving_targets_) {
    const auto home = gateway_.targets_.extract(label);
    gateway_.observer_.on_session_leaves(label);
    leavers[home.mapped().worker->shard.index()].drivers.push_back(home.mapped().driver);
  }
  gateway_.setup_.targets = next_;
  gateway_.publish_places();
  if (leavers.empty()) return finish();
  retiring_ = leavers.size();
  for (auto& [index, leaving] : leavers) {
    shard::Worker& worker = *gateway_.workers_[index];
    worker.shard.post([this, &worker, leaving = std::move(leaving)](Micros now) mutable {
      worker.shard.add_chore(std::make_unique<shard::Retirement>(
          worker.shard, worker.drivers, worker.exports, std::move(leaving), limit_,
          [this](std::vector<shard::ExportLegacy> legacies) {
            gateway_.on_control([this, gone = std::move(legacies)]() mutable { note_retired(std::move(gone)); });
          },
          now));
    });
  }
}

void Reload::note_retired(std::vector<shard::ExportLegacy> legacies) {
  for (shard::ExportLegacy& legacy : legacies) {
    states_[legacy.name] = legacy.admin_state;
    gateway_.caches_.put(std::move(legacy));
  }
  if (--retiring_ > 0) return;
  if (gateway_.ending_) return finish();
  add(false);
  send_orders([this] {
    gateway_.publish_places();
    finish();
  });
}

void Reload::finish() {
  gateway_.caches_.settle();
  gateway_.reload_.reset();  // this
}

}  // namespace nbdgw::sim
