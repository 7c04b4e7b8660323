#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>

#include "gateway/net/event_log.hpp"
#include "gateway/net/view.hpp"

/// Views as JSON, as gateway/admin/openapi.yaml describes them.
namespace nbdgw::admin {

boost::json::object to_json(const net::ExportView& view);
boost::json::object to_json(const net::ClientView& view);
boost::json::object to_json(const net::SessionView& view);
boost::json::object to_json(const net::ConnectionView& view);
boost::json::object to_json(const net::TaskView& view);

/// As people write it; a form that has no such number as it is on the wire.
std::uint64_t lun_number_of(std::uint64_t lun) noexcept;

/// `operation`: the one that asked for it; 0: none did.
boost::json::object to_json(const net::EventRecord& record, std::uint64_t operation);

// All of a gateway, over its shards, in an order that does not depend on them.
boost::json::array exports_json(const net::GatewayView& view);
boost::json::array clients_json(const net::GatewayView& view);
boost::json::array sessions_json(const net::GatewayView& view);
boost::json::array connections_json(const net::SessionView& view);
boost::json::array tasks_json(const std::vector<net::TaskView>& tasks);

/// What a status says of the view: numbers of clients, exports and sessions, memory, and who is climbing.
void add_status(const net::GatewayView& view, boost::json::object& status);

// One of them, or null.
const net::ExportView* find_export(const net::GatewayView& view, std::string_view name) noexcept;
const net::ClientView* find_client(const net::GatewayView& view, std::uint64_t id) noexcept;
const net::SessionView* find_session(const net::GatewayView& view, std::string_view target) noexcept;

}  // namespace nbdgw::admin
