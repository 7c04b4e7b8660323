#include "gateway/admin/fault_routes.hpp"

#include <spdlog/spdlog.h>

#include <boost/beast/core/string.hpp>
#include <boost/json.hpp>
#include <charconv>

#include "gateway/admin/fault_json.hpp"
#include "gateway/net/target_server.hpp"
#include "gateway/target/connection.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::admin {

namespace json = boost::json;

namespace {

std::string_view name_of(target::TaskState state) noexcept {
  switch (state) {
    case target::TaskState::free:
      return "free";
    case target::TaskState::receiving:
      return "receiving";
    case target::TaskState::parked:
      return "parked";
    case target::TaskState::gathering:
      return "gathering";
    case target::TaskState::ready:
      return "ready";
    case target::TaskState::executed:
      return "executed";
    case target::TaskState::responding:
      return "responding";
    case target::TaskState::finished:
      return "finished";
    case target::TaskState::aborted:
      return "aborted";
  }
  return "unknown";
}

json::object describe(const target::Task& task) {
  json::object out{{"itt", task.itt}, {"cid", task.connection->cid()}, {"state", name_of(task.state)}};
  if (task.is_scsi()) {
    if (const auto lun = proto::scsi::decode_lun(task.command.lun)) out["lun"] = *lun;
    out["opcode"] = task.cdb()[0];
  }
  return out;
}

json::object describe(const target::Session& session, const net::TargetServer& target) {
  json::array connections;
  for (const target::Connection* each : session.connections())
    connections.push_back({{"cid", each->cid()}, {"peer", target.peer_of(*each)}});
  json::array tasks;
  for (const target::Task* task = session.tasks().first(); task != nullptr; task = task->next)
    if (task->is_scsi()) tasks.push_back(describe(*task));
  return {{"tsih", session.tsih()},
          {"initiator", session.identity().initiator_name},
          {"discovery", session.is_discovery()},
          {"connections", std::move(connections)},
          {"tasks", std::move(tasks)}};
}

void post_fault(net::TargetServer& target, const Request& request, Reply reply) {
  // Also what keeps a page in somebody's browser from posting here.
  const std::string_view type = std::string_view(request.content_type).substr(0, request.content_type.find(';'));
  if (!boost::beast::iequals({type.data(), type.size()}, "application/json"))
    return reply.send(problem(415, "bad_content_type", "a fault is posted as Content-Type: application/json"));
  target::Fault fault;
  if (const auto error = parse_fault(request.body, fault))
    return reply.send(problem(400, "bad_fault", error->text, error->field));
  target.post([&target, fault = std::move(fault), reply = std::move(reply)](proto::Micros now) mutable {
    const auto* posted = target.faults().add(fault, now);
    if (posted == nullptr)
      return reply.send(problem(409, "too_many_faults",
                                "there are " + std::to_string(target::Faults::kMaxFaults) + " faults; delete some"));
    const json::object body = to_json(*posted);
    spdlog::info("target: fault {}", json::serialize(body));
    Response response = json_response(201, body);
    response.fields.emplace_back("Location", "/v1/faults/" + std::to_string(posted->id));
    reply.send(std::move(response));
  });
}

void delete_fault(net::TargetServer& target, const Request& request, Reply reply) {
  const std::string& text = request.parameters.front();
  std::uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool number = error == std::errc{} && end == text.data() + text.size();
  target.post([&target, id, number, reply = std::move(reply)](proto::Micros now) mutable {
    if (!number || !target.faults().remove(id, now))
      return reply.send(problem(404, "no_such_fault", "there is no fault of this number"));
    spdlog::info("target: fault {} is deleted", id);
    reply.send({.status = 204, .content_type = {}, .body = {}, .fields = {}});
  });
}

}  // namespace

void add_fault_routes(Router& router, net::TargetServer& target) {
  router.add("GET", "/v1/faults", [&target](const Request&, Reply reply) {
    target.post([&target, reply = std::move(reply)](proto::Micros) mutable {
      json::array faults;
      for (const auto& each : target.faults().posted()) faults.push_back(to_json(each));
      reply.send(json_response(200, json::object{{"faults", std::move(faults)}}));
    });
  });
  router.add("POST", "/v1/faults",
             [&target](const Request& request, Reply reply) { post_fault(target, request, std::move(reply)); });
  router.add("DELETE", "/v1/faults", [&target](const Request&, Reply reply) {
    target.post([&target, reply = std::move(reply)](proto::Micros now) mutable {
      target.faults().clear(now);
      spdlog::info("target: all faults are deleted");
      reply.send({.status = 204, .content_type = {}, .body = {}, .fields = {}});
    });
  });
  router.add("DELETE", "/v1/faults/{id}",
             [&target](const Request& request, Reply reply) { delete_fault(target, request, std::move(reply)); });
  router.add("GET", "/v1/sessions", [&target](const Request&, Reply reply) {
    target.post([&target, reply = std::move(reply)](proto::Micros) mutable {
      json::array sessions;
      for (const auto& [tsih, session] : target.engine().sessions()) sessions.push_back(describe(*session, target));
      reply.send(json_response(200, json::object{{"sessions", std::move(sessions)}}));
    });
  });
}

}  // namespace nbdgw::admin
