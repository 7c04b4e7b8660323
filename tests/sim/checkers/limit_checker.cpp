#include "tests/sim/checkers/limit_checker.hpp"

#include <algorithm>

#include "gateway/initiator/task_pool.hpp"

namespace nbdgw::sim {

void LimitChecker::keeps(const std::string& what, std::uint64_t value, std::uint64_t limit) {
  if (value > limit)
    complaints_.complain("limits", what + ": " + std::to_string(value) + " of " + std::to_string(limit));
}

void LimitChecker::look(const std::vector<std::unique_ptr<shard::Worker>>& workers, Micros now) {
  std::uint64_t clients = 0;
  for (const auto& worker : workers) {
    if (worker->shard.has_ended()) continue;
    const shard::ShardView view = worker->view({}, now);
    keeps("payload memory", view.memory_used, std::min(view.memory_limit, setup_.shard.memory));
    clients += view.handshakes;
    for (const shard::ExportView& exported : view.exports) {
      look(exported);
      clients += exported.clients;
    }
    for (const shard::SessionView& session : view.sessions) look(session);
  }
  keeps("clients", clients, setup_.most_clients);
}

void LimitChecker::look(const shard::ExportView& exported) {
  for (const GatewaySetup::Target& target : setup_.targets) {
    for (const bridge::ExportConfig& config : target.exports) {
      if (config.name != exported.name) continue;
      keeps("requests of " + config.name, exported.in_flight, config.requests + setup_.most_clients);
      keeps("commands of " + config.name, exported.tasks_in_flight - exported.tasks_held, config.queue_depth);
      keeps("queue depth of " + config.name, exported.queue_depth, config.queue_depth);
    }
  }
}

void LimitChecker::look(const shard::SessionView& session) {
  using initiator::TaskPool;
  for (const GatewaySetup::Target& target : setup_.targets) {
    const initiator::SessionSettings& settings = target.settings;
    if (settings.target_name != session.iqn) continue;
    keeps("tasks of " + session.target, session.tasks, session.tasks_max);
    keeps("all tasks of " + session.target, session.tasks_max,
          settings.queue_depth + TaskPool::management_tasks(settings.connections));
    keeps("connections of " + session.target, session.connections.size(), settings.connections);
  }
}

void LimitChecker::on_end(const std::vector<std::unique_ptr<shard::Worker>>& workers) {
  for (const auto& worker : workers) {
    keeps("payload memory that was never given back", worker->shard.pool().used(), 0);
    for (const auto& slot : worker->exports) {
      const bridge::Export& exported = slot->exported();
      keeps("requests of " + slot->name() + " that have no end", exported.in_flight(), 0);
    }
  }
}

void LimitChecker::on_last_end(const Network& network) {
  keeps("descriptors that were never closed", network.open_descriptors(), 0);
}

}  // namespace nbdgw::sim
