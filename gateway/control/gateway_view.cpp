// What a gateway looks like: collected from its shards.
#include <algorithm>
#include <utility>

#include "gateway/control/gateway.hpp"
#include "gateway/shard/view_parts.hpp"

namespace nbdgw::control {

void Gateway::view(shard::ViewOptions options, std::function<void(shard::GatewayView)> done) {
  on_control([this, options, done = std::move(done)]() mutable {
    shard::GatewayView view;
    view.draining = !takes_clients_;
    view.clients = limit_.taken();
    view.clients_max = limit_.limit();
    view.addresses = addresses_;
    for (const auto& listener : listeners_) {
      view.accepted += listener->counters().accepted;
      view.over_limit += listener->counters().over_limit;
      view.out_of_descriptors += listener->counters().out_of_fds;
    }
    for (const config::Export& each : config_->exports) {
      if (!exports_.contains(each.name)) view.missing.push_back({.name = each.name, .required = each.required});
    }
    view.shards.resize(workers_.size());
    for (std::uint32_t i = 0; i < workers_.size(); ++i) view.shards[i].index = i;
    ask_shards<shard::ShardView>(
        [options](const shard::Worker& worker, proto::Micros now) { return worker.view(options, now); },
        [view = std::move(view), done = std::move(done)](auto shards) mutable {
          for (std::size_t i = 0; i < shards.size(); ++i)
            if (shards[i]) view.shards[i] = *std::move(shards[i]);
          done(std::move(view));
        });
  });
}

void Gateway::tasks(std::string target, std::function<void(std::optional<std::vector<shard::TaskView>>)> done) {
  on_control([this, target = std::move(target), done = std::move(done)]() mutable {
    const auto [worker, driver] = find_target(target);
    if (driver == nullptr) return done(std::nullopt);
    worker->shard.post([driver = driver, done = std::move(done)](proto::Micros now) {
      done(shard::view_of_tasks(std::as_const(*driver).session(), now));
    });
  });
}

std::pair<shard::Worker*, shard::SessionDriver*> Gateway::find_target(const std::string& name) noexcept {
  const auto found = targets_.find(name);
  if (found == targets_.end() || found->second.driver == nullptr) return {};
  return {found->second.worker, found->second.driver};
}

std::pair<shard::Worker*, shard::SessionExport*> Gateway::find_export(const std::string& name) noexcept {
  const auto found = exports_.find(name);
  if (found == exports_.end()) return {};
  return {found->second.worker, found->second.slot};
}

bool Gateway::has_export_on(const shard::SessionDriver& driver, std::uint64_t lun) const noexcept {
  return std::ranges::any_of(exports_, [&](const auto& entry) {
    const shard::SessionExport& slot = *entry.second.slot;
    return &slot.driver() == &driver && slot.exported().unit().lun() == lun;
  });
}

}  // namespace nbdgw::control
