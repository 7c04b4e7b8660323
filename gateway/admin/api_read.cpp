// What the API shows.
#include <boost/json.hpp>

#include "config/names.hpp"
#include "gateway/admin/api.hpp"
#include "gateway/admin/api_json.hpp"
#include "gateway/admin/config_json.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/http/json_text.hpp"
#include "gateway/net/clock.hpp"

namespace nbdgw::admin {

namespace json = boost::json;

namespace {

http::Response not_found(const std::string& detail) {
  return http::problem(404, "not_found", detail);
}

template <typename Name>
json::object wrapped(Name name, json::array list) {
  return {{name, std::move(list)}};
}

http::Response show_export(const http::Request& request, const shard::GatewayView& view) {
  const std::string& name = request.parameters[0];
  const shard::ExportView* found = find_export(view, name);
  return found != nullptr ? http::json_response(200, to_json(*found)) : not_found("there is no export " + name);
}

http::Response show_client(const http::Request& request, const shard::GatewayView& view) {
  const auto id = http::path_number(request.parameters[0]);
  if (!id) return http::problem(400, "bad_parameter", "id: a client is known by a number", "id");
  const shard::ClientView* found = find_client(view, *id);
  return found != nullptr ? http::json_response(200, to_json(*found))
                          : not_found("there is no client " + std::to_string(*id) + " any more");
}

http::Response show_session(const http::Request& request, const shard::GatewayView& view) {
  const std::string& target = request.parameters[0];
  const shard::SessionView* found = find_session(view, target);
  return found != nullptr ? http::json_response(200, to_json(*found))
                          : not_found("there is no target " + target + " in use");
}

http::Response show_connections(const http::Request& request, const shard::GatewayView& view) {
  const std::string& target = request.parameters[0];
  const shard::SessionView* found = find_session(view, target);
  if (found == nullptr) return not_found("there is no target " + target + " in use");
  return http::json_response(200, wrapped("connections", connections_json(*found)));
}

}  // namespace

void Api::add_view(http::Router& router, const char* pattern, bool clients, Show show) {
  router.add(
      "GET", pattern, [this, clients, show = std::move(show)](const http::Request& request, http::Reply reply) {
        if (http::has_query(request, reply)) return;
        auto shared = std::make_shared<http::Reply>(std::move(reply));
        with_view(clients,
                  [show, request, shared](const shard::GatewayView& view) { shared->send(show(request, view)); });
      });
}

void Api::add_read_routes(http::Router& router) {
  const auto list = [](const char* name, json::array (*all)(const shard::GatewayView&)) {
    return [name, all](const http::Request&, const shard::GatewayView& view) {
      return http::json_response(200, wrapped(name, all(view)));
    };
  };
  add_view(router, "/v1/status", false,
           [this](const http::Request&, const shard::GatewayView& view) { return status(view); });
  add_view(router, "/v1/exports", false, list("exports", exports_json));
  add_view(router, "/v1/exports/{name}", false, show_export);
  add_view(router, "/v1/clients", true, list("clients", clients_json));
  add_view(router, "/v1/clients/{id}", true, show_client);
  add_view(router, "/v1/sessions", false, list("sessions", sessions_json));
  add_view(router, "/v1/sessions/{target}", false, show_session);
  add_view(router, "/v1/sessions/{target}/connections", false, show_connections);

  const auto add = [this, &router](const char* pattern, Handler handler) {
    router.add("GET", pattern, [this, handler](const http::Request& request, http::Reply reply) {
      if (!http::has_query(request, reply)) (this->*handler)(request, std::move(reply));
    });
  };
  add("/v1/sessions/{target}/tasks", &Api::tasks);
  add("/v1/operations/{id}", &Api::operation);
  router.add("GET", "/v1/events",
             [this](const http::Request& request, http::Reply reply) { events(request, std::move(reply)); });

  const auto show = [&router](const char* pattern, std::function<json::object()> what) {
    router.add("GET", pattern, [what = std::move(what)](const http::Request& request, http::Reply reply) {
      if (!http::has_query(request, reply)) reply.send(http::json_response(200, what()));
    });
  };
  show("/v1/config", [this] { return to_json(setup_.config()); });
  show("/v1/log", [this] { return log_.to_json(); });
  show("/v1/operations", [this] {
    json::array all;
    operations_.for_each([&](const Operation& each) { all.push_back(to_json(each)); });
    return wrapped("operations", std::move(all));
  });
}

http::Response Api::status(const shard::GatewayView& view) const {
  json::object out{{"version", setup_.version},
                   {"started_at", http::time_text(started_.wall)},
                   {"uptime_seconds", http::seconds(net::steady_now() - started_.steady)},
                   {"ready", is_ready_(view)}};
  add_status(view, out);
  out["addresses"] = json::object{{"nbd", json::array(view.addresses.begin(), view.addresses.end())}};
  json::array own;
  for (const std::string& each : http_.addresses()) own.emplace_back(each);
  out["addresses"].as_object()["admin"] = std::move(own);
  out["log"] = json::object{{"level", config::kLogLevels[static_cast<std::size_t>(LogControl::level())]}};
  return http::json_response(200, out);
}

void Api::tasks(const http::Request& request, http::Reply reply) {
  auto shared = std::make_shared<http::Reply>(std::move(reply));
  const std::string& target = request.parameters[0];
  gateway_.tasks(target, [shared, target, postbox = postbox_](std::optional<std::vector<shard::TaskView>> tasks) {
    // Not by the shard's thread.
    postbox->post([shared, target, tasks = std::move(tasks)] {
      if (!tasks) return shared->send(not_found("there is no target " + target + " in use"));
      shared->send(http::json_response(200, wrapped("tasks", tasks_json(*tasks))));
    });
  });
}

void Api::operation(const http::Request& request, http::Reply reply) {
  const auto id = http::path_number(request.parameters[0]);
  if (!id) return reply.send(http::problem(400, "bad_parameter", "id: an operation is known by a number", "id"));
  const Operation* found = operations_.find(*id);
  if (found == nullptr)
    return reply.send(not_found("there is no operation " + std::to_string(*id) + "; the last " +
                                std::to_string(Operations::kMax) + " are kept"));
  reply.send(http::json_response(200, to_json(*found)));
}

}  // namespace nbdgw::admin
