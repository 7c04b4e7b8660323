#include "tests/sim/checkers/crowd_checker.hpp"

#include <algorithm>

namespace nbdgw::sim {

void CrowdChecker::look(const std::vector<std::unique_ptr<shard::Worker>>& workers, Micros now) {
  std::set<std::uint64_t> waits;
  for (const auto& worker : workers) {
    if (worker->shard.has_ended()) continue;
    const shard::ShardView view = worker->view({.clients = true}, now);
    const bool room = view.memory_used == 0 && std::ranges::all_of(view.exports, [](const auto& exported) {
                        return exported.state == bridge::ExportState::online;
                      });
    for (const shard::ClientView& client : view.clients) {
      if (client.in_flight > setup_.clients.max_in_flight) {
        complaints_.complain("limits", "client " + client.peer + " has " + std::to_string(client.in_flight) +
                                           " requests in flight, of " + std::to_string(setup_.clients.max_in_flight));
      }
      if (!room || !client.stalled) continue;
      waits.insert(client.id);
      if (waits_in_vain_.contains(client.id)) {
        complaints_.complain(
            "room", "client " + client.peer + " of " + client.exported + " waits for room, and nobody else has any");
      }
    }
    for (const auto reason : {nbd::CloseReason::bad_request_magic, nbd::CloseReason::payload_too_long}) {
      if (view.closed[static_cast<std::size_t>(reason)] == 0) continue;
      complaints_.complain("client", "a connection was ended for what no client has said (" +
                                         std::to_string(static_cast<int>(reason)) + ")");
    }
  }
  waits_in_vain_ = std::move(waits);
}

bool CrowdChecker::anything_with_targets(const std::vector<std::unique_ptr<shard::Worker>>& workers, Micros now) {
  return std::ranges::any_of(workers, [now](const auto& worker) {
    const shard::ShardView view = worker->view({}, now);
    return std::ranges::any_of(view.exports, [](const shard::ExportView& each) {
      return each.tasks_in_flight + each.tasks_queued + each.tasks_delayed > 0;
    });
  });
}

void CrowdChecker::rest(const std::vector<std::unique_ptr<shard::Worker>>& workers,
                        const std::vector<std::unique_ptr<RudeHost>>& hosts, Micros now) {
  std::set<std::uint64_t> links;
  for (const auto& host : hosts) host->add_without_payload(links);
  std::set<std::string> peers;
  for (const std::uint64_t link : links) peers.insert(Network::client_name(link));
  for (const auto& worker : workers) {
    const shard::ShardView view = worker->view({.clients = true}, now);
    // What was left behind by connections that are gone, or dead, may run on.
    std::uint64_t all = 0;
    std::uint64_t announced = 0;
    for (const shard::ExportView& exported : view.exports) all += exported.in_flight;
    for (const shard::ClientView& client : view.clients)
      announced += peers.contains(client.peer) ? client.in_flight : 0;
    if (all != announced || view.memory_used == 0) continue;
    complaints_.complain("room", std::to_string(view.memory_used) +
                                     " bytes of payload memory are out, and no request is there that has sent any "
                                     "payload, or waits for any");
  }
}

}  // namespace nbdgw::sim
