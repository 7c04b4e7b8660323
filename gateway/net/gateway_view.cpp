// What a gateway looks like: collected from its shards.
#include <algorithm>
#include <mutex>
#include <utility>

#include "gateway/net/gateway.hpp"
#include "gateway/net/view_parts.hpp"

namespace nbdgw::net {

namespace {

/// A view that is being put together. When its last part has come, or will never come because the shard has ended, it
/// is handed on.
class Collector {
 public:
  /// `not_required`: exports, by name.
  Collector(GatewayView view, std::vector<std::string> not_required, std::function<void(GatewayView)> done)
      : view_(std::move(view)), not_required_(std::move(not_required)), done_(std::move(done)) {}
  /// The last one to hold it lets go.
  ~Collector() { done_(std::move(view_)); }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  void put(std::size_t index, ShardView shard) {
    for (ExportView& exported : shard.exports)
      exported.required = std::ranges::find(not_required_, exported.name) == not_required_.end();
    const std::lock_guard lock(mutex_);
    view_.shards[index] = std::move(shard);
  }

 private:
  std::mutex mutex_;
  GatewayView view_;
  const std::vector<std::string> not_required_;
  std::function<void(GatewayView)> done_;
};

}  // namespace

ShardView Gateway::Worker::view(const ViewOptions& view_options, proto::Micros now) const {
  ShardView view;
  view.index = shard.index();
  view.memory_used = shard.pool().used();
  view.memory_limit = shard.pool().capacity();
  std::vector<const SessionExport*> slots;
  for (const auto& slot : exports) {
    slots.push_back(slot.get());
    view.exports.push_back(view_of(*slot, now));
  }
  for (const auto& driver : drivers) view.sessions.push_back(view_of(std::as_const(*driver).session(), now));
  add_clients(shard, slots, view_options.clients, now, view);
  return view;
}

void Gateway::view(ViewOptions options, std::function<void(GatewayView)> done) {
  on_control([this, options, done = std::move(done)]() mutable {
    GatewayView view;
    view.draining = !takes_clients_;
    view.clients = limit_.taken();
    view.clients_max = limit_.limit();
    view.addresses = addresses();
    for (const auto& listener : listeners_) {
      view.accepted += listener->counters().accepted;
      view.over_limit += listener->counters().over_limit;
      view.out_of_descriptors += listener->counters().out_of_fds;
    }
    view.shards.resize(workers_.size());
    for (std::uint32_t i = 0; i < workers_.size(); ++i) view.shards[i].index = i;
    std::vector<std::string> not_required;
    for (const config::Export& exported : config_.exports)
      if (!exported.required) not_required.push_back(exported.name);
    const auto collector = std::make_shared<Collector>(std::move(view), std::move(not_required), std::move(done));
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      workers_[i]->shard.post([worker = workers_[i].get(), options, collector, i](proto::Micros now) {
        collector->put(i, worker->view(options, now));
      });
    }
  });
}

void Gateway::tasks(std::string target, std::function<void(std::optional<std::vector<TaskView>>)> done) {
  on_control([this, target = std::move(target), done = std::move(done)]() mutable {
    const auto [worker, driver] = find_target(target);
    if (driver == nullptr) return done(std::nullopt);
    worker->shard.post([driver = driver, done = std::move(done)](proto::Micros now) {
      done(view_of_tasks(std::as_const(*driver).session(), now));
    });
  });
}

std::pair<Gateway::Worker*, SessionDriver*> Gateway::find_target(const std::string& name) noexcept {
  for (const auto& worker : workers_) {
    for (const auto& driver : worker->drivers) {
      if (driver->session().settings().label == name) return {worker.get(), driver.get()};
    }
  }
  return {};
}

std::pair<Gateway::Worker*, SessionExport*> Gateway::find_export(const std::string& name) noexcept {
  for (const auto& worker : workers_) {
    for (const auto& slot : worker->exports) {
      if (slot->name() == name) return {worker.get(), slot.get()};
    }
  }
  return {};
}

}  // namespace nbdgw::net
