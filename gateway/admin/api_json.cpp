#include "gateway/admin/api_json.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace nbdgw::admin {

namespace json = boost::json;

namespace {

/// Pointers to all things of one kind, in the order of `key`.
template <typename Thing, typename Key>
std::vector<const Thing*> collect(const shard::GatewayView& view, std::vector<Thing> shard::ShardView::*list,
                                  Key key) {
  std::vector<const Thing*> all;
  for (const shard::ShardView& shard : view.shards)
    for (const Thing& each : shard.*list) all.push_back(&each);
  std::ranges::sort(
      all, {}, [&](const Thing* each) -> const auto& { return each->*key; });
  return all;
}

template <typename Thing>
json::array to_array(const std::vector<const Thing*>& all) {
  json::array out;
  for (const Thing* each : all) out.push_back(to_json(*each));
  return out;
}

template <typename Thing, typename Key, typename Value>
const Thing* find(const shard::GatewayView& view, std::vector<Thing> shard::ShardView::*list, Key key,
                  const Value& value) noexcept {
  for (const shard::ShardView& shard : view.shards)
    for (const Thing& each : shard.*list)
      if (each.*key == value) return &each;
  return nullptr;
}

}  // namespace

json::array exports_json(const shard::GatewayView& view) {
  return to_array(collect(view, &shard::ShardView::exports, &shard::ExportView::name));
}

json::array clients_json(const shard::GatewayView& view) {
  return to_array(collect(view, &shard::ShardView::clients, &shard::ClientView::id));
}

json::array sessions_json(const shard::GatewayView& view) {
  return to_array(collect(view, &shard::ShardView::sessions, &shard::SessionView::target));
}

json::array connections_json(const shard::SessionView& view) {
  json::array out;
  for (const shard::ConnectionView& each : view.connections) out.push_back(to_json(each));
  return out;
}

json::array tasks_json(const std::vector<shard::TaskView>& tasks) {
  json::array out;
  for (const shard::TaskView& each : tasks) out.push_back(to_json(each));
  return out;
}

void add_status(const shard::GatewayView& view, json::object& status) {
  std::size_t exports = 0, online = 0, sessions = 0, logged_in = 0;
  std::uint64_t used = 0, limit = 0;
  json::array climbing;
  for (const shard::ShardView& shard : view.shards) {
    used += shard.memory_used;
    limit += shard.memory_limit;
    exports += shard.exports.size();
    sessions += shard.sessions.size();
    for (const shard::ExportView& each : shard.exports) online += each.state == bridge::ExportState::online ? 1 : 0;
    for (const shard::SessionView& each : shard.sessions) {
      logged_in += each.state == initiator::SessionState::logged_in ? 1 : 0;
      if (each.climb) climbing.emplace_back(each.target);
    }
  }
  status["draining"] = view.draining;
  status["clients"] = view.clients;
  status["clients_max"] = view.clients_max;
  status["exports"] = {{"total", exports}, {"online", online}};
  status["sessions"] = {{"total", sessions}, {"logged_in", logged_in}};
  status["memory"] = {{"used_bytes", used}, {"limit_bytes", limit}};
  status["climbing"] = std::move(climbing);
}

const shard::ExportView* find_export(const shard::GatewayView& view, std::string_view name) noexcept {
  return find(view, &shard::ShardView::exports, &shard::ExportView::name, name);
}

const shard::ClientView* find_client(const shard::GatewayView& view, std::uint64_t id) noexcept {
  return find(view, &shard::ShardView::clients, &shard::ClientView::id, id);
}

const shard::SessionView* find_session(const shard::GatewayView& view, std::string_view target) noexcept {
  return find(view, &shard::ShardView::sessions, &shard::SessionView::target, target);
}

}  // namespace nbdgw::admin
