#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>

#include "gateway/shard/event_log.hpp"
#include "gateway/shard/view.hpp"

/// Views as JSON, as gateway/admin/openapi.yaml describes them.
namespace nbdgw::admin {

boost::json::object to_json(const shard::ExportView& view);
boost::json::object to_json(const shard::ClientView& view);
boost::json::object to_json(const shard::SessionView& view);
boost::json::object to_json(const shard::ConnectionView& view);
boost::json::object to_json(const shard::TaskView& view);

/// As people write it; a form that has no such number as it is on the wire.
std::uint64_t lun_number_of(std::uint64_t lun) noexcept;

/// `operation`: the one that asked for it; 0: none did.
boost::json::object to_json(const shard::EventRecord& record, std::uint64_t operation);

// All of a gateway, over its shards, in an order that does not depend on them.
boost::json::array exports_json(const shard::GatewayView& view);
boost::json::array clients_json(const shard::GatewayView& view);
boost::json::array sessions_json(const shard::GatewayView& view);
boost::json::array connections_json(const shard::SessionView& view);
boost::json::array tasks_json(const std::vector<shard::TaskView>& tasks);

/// What a status says of the view: numbers of clients, exports and sessions, memory, and who is climbing.
void add_status(const shard::GatewayView& view, boost::json::object& status);

// One of them, or null.
const shard::ExportView* find_export(const shard::GatewayView& view, std::string_view name) noexcept;
const shard::ClientView* find_client(const shard::GatewayView& view, std::uint64_t id) noexcept;
const shard::SessionView* find_session(const shard::GatewayView& view, std::string_view target) noexcept;

}  // namespace nbdgw::admin
