// What a gateway looks like: collected from its shards.
#include <algorithm>
#include <mutex>
#include <utility>

#include "gateway/control/gateway.hpp"
#include "gateway/shard/view_parts.hpp"

namespace nbdgw::control {

namespace {

/// A view that is being put together. When its last part has come, or will never come because the shard has ended, it
/// is handed on.
class Collector {
 public:
  Collector(shard::GatewayView view, std::function<void(shard::GatewayView)> done)
      : view_(std::move(view)), done_(std::move(done)) {}
  /// The last one to hold it lets go.
  ~Collector() { done_(std::move(view_)); }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  void put(std::size_t index, shard::ShardView shard) {
    const std::lock_guard lock(mutex_);
    view_.shards[index] = std::move(shard);
  }

 private:
  std::mutex mutex_;
  shard::GatewayView view_;
  std::function<void(shard::GatewayView)> done_;
};

}  // namespace

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
    const auto collector = std::make_shared<Collector>(std::move(view), std::move(done));
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      workers_[i]->shard.post([worker = workers_[i].get(), options, collector, i](proto::Micros now) {
        collector->put(i, worker->view(options, now));
      });
    }
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
