#include "gateway/admin/api_json.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace nbdgw::admin {

namespace json = boost::json;

namespace {

/// Pointers to all things of one kind, in the order of `key`.
template <typename Thing, typename Key>
std::vector<const Thing*> collect(const net::GatewayView& view, std::vector<Thing> net::ShardView::*list, Key key) {
  std::vector<const Thing*> all;
  for (const net::ShardView& shard : view.shards)
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
const Thing* find(const net::GatewayView& view, std::vector<Thing> net::ShardView::*list, Key key,
                  const Value& value) noexcept {
  for (const net::ShardView& shard : view.shards)
    for (const Thing& each : shard.*list)
      if (each.*key == value) return &each;
  return nullptr;
}

}  // namespace

json::array exports_json(const net::GatewayView& view) {
  return to_array(collect(view, &net::ShardView::exports, &net::ExportView::name));
}

json::array clients_json(const net::GatewayView& view) {
  return to_array(collect(view, &net::ShardView::clients, &net::ClientView::id));
}

json::array sessions_json(const net::GatewayView& view) {
  return to_array(collect(view, &net::ShardView::sessions, &net::SessionView::target));
}

json::array connections_json(const net::SessionView& view) {
  json::array out;
  for (const net::ConnectionView& each : view.connections) out.push_back(to_json(each));
  return out;
}

json::array tasks_json(const std::vector<net::TaskView>& tasks) {
  json::array out;
  for (const net::TaskView& each : tasks) out.push_back(to_json(each));
  return out;
}

void add_status(const net::GatewayView& view, json::object& status) {
  std::size_t exports = 0, online = 0, sessions = 0, logged_in = 0;
  std::uint64_t used = 0, limit = 0;
  json::array climbing;
  for (const net::ShardView& shard : view.shards) {
    used += shard.memory_used;
    limit += shard.memory_limit;
    exports += shard.exports.size();
    sessions += shard.sessions.size();
    for (const net::ExportView& each : shard.exports) online += each.state == bridge::ExportState::online ? 1 : 0;
    for (const net::SessionView& each : shard.sessions) {
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

const net::ExportView* find_export(const net::GatewayView& view, std::string_view name) noexcept {
  return find(view, &net::ShardView::exports, &net::ExportView::name, name);
}

const net::ClientView* find_client(const net::GatewayView& view, std::uint64_t id) noexcept {
  return find(view, &net::ShardView::clients, &net::ClientView::id, id);
}

const net::SessionView* find_session(const net::GatewayView& view, std::string_view target) noexcept {
  return find(view, &net::ShardView::sessions, &net::SessionView::target, target);
}

}  // namespace nbdgw::admin
