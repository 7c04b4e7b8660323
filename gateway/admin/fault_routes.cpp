#include "gateway/admin/fault_routes.hpp"

#include <boost/json.hpp>

#include "gateway/admin/audit.hpp"
#include "gateway/admin/fault_json.hpp"
#include "gateway/http/json_text.hpp"
#include "gateway/http/request_fields.hpp"
#include "gateway/iscsi_target/connection.hpp"
#include "gateway/net/log.hpp"
#include "gateway/target_host/server.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::admin {

namespace json = boost::json;

namespace {

std::string_view name_of(iscsi_target::TaskState state) noexcept {
  switch (state) {
    case iscsi_target::TaskState::free:
      return "free";
    case iscsi_target::TaskState::receiving:
      return "receiving";
    case iscsi_target::TaskState::parked:
      return "parked";
    case iscsi_target::TaskState::gathering:
      return "gathering";
    case iscsi_target::TaskState::ready:
      return "ready";
    case iscsi_target::TaskState::executed:
      return "executed";
    case iscsi_target::TaskState::responding:
      return "responding";
    case iscsi_target::TaskState::finished:
      return "finished";
    case iscsi_target::TaskState::aborted:
      return "aborted";
  }
  return "unknown";
}

json::object describe(const iscsi_target::Task& task) {
  json::object out{{"itt", task.itt}, {"cid", task.connection->cid()}, {"state", name_of(task.state)}};
  if (task.is_scsi()) {
    if (const auto lun = proto::scsi::decode_lun(task.command.lun)) out["lun"] = *lun;
    out["opcode"] = task.cdb()[0];
  }
  return out;
}

json::object describe(const iscsi_target::Session& session, const target_host::TargetServer& target) {
  json::array connections;
  for (const iscsi_target::Connection* each : session.connections())
    connections.push_back({{"cid", each->cid()}, {"peer", target.peer_of(*each)}});
  json::array tasks;
  for (const iscsi_target::Task* task = session.tasks().first(); task != nullptr; task = task->next)
    if (task->is_scsi()) tasks.push_back(describe(*task));
  return {{"tsih", session.tsih()},
          {"initiator", session.identity().initiator_name},
          {"discovery", session.is_discovery()},
          {"connections", std::move(connections)},
          {"tasks", std::move(tasks)}};
}

/// Tells the outcome of a change, to the audit if there is one.
void tell(Audit* audit, const Change& change, ChangeOutcome outcome, std::string_view detail) {
  if (audit != nullptr) audit->record(change, outcome, detail);
}

void refuse(Audit* audit, const Change& change, const http::Refusal& refusal, http::Reply& reply) {
  tell(audit, change, ChangeOutcome::refused, refusal.code + ": " + refusal.detail);
  reply.send(refusal.response());
}

void post_fault(target_host::TargetServer& target, Audit* audit, const http::Request& request, http::Reply reply) {
  Change change{Verb::post_fault, "embedded target", false, request.peer};
  if (!http::is_json(request)) return refuse(audit, change, http::not_json(), reply);
  iscsi_target::Fault fault;
  if (const auto error = parse_fault(request.body, fault))
    return refuse(audit, change, {400, "bad_fault", error->text, error->field}, reply);
  target.post([&target, audit, change = std::move(change), fault = std::move(fault),
               reply = std::move(reply)](proto::Micros now) mutable {
    const auto* posted = target.faults().add(fault, now);
    if (posted == nullptr)
      return refuse(audit, change,
                    {409, "too_many_faults",
                     "there are " + std::to_string(iscsi_target::Faults::kMaxFaults) + " faults; delete some"},
                    reply);
    const json::object body = to_json(*posted);
    net::log::info({}, "target: fault {}", http::to_text(body));
    tell(audit, change, ChangeOutcome::accepted, http::to_text(body));
    http::Response response = http::json_response(201, body);
    response.fields.emplace_back("Location", "/v1/faults/" + std::to_string(posted->id));
    reply.send(std::move(response));
  });
}

/// The fault of the number in the path.
void delete_fault(target_host::TargetServer& target, Audit* audit, const http::Request& request, http::Reply reply) {
  const auto id = http::path_number(request.parameters.front(), 0xffffffff);
  target.post([&target, audit, id,
               change = Change{Verb::delete_fault, "fault " + request.parameters.front(), false, request.peer},
               reply = std::move(reply)](proto::Micros now) mutable {
    if (!id || !target.faults().remove(static_cast<std::uint32_t>(*id), now))
      return refuse(audit, change, {404, "no_such_fault", "there is no fault of this number"}, reply);
    net::log::info({}, "target: fault {} is deleted", *id);
    tell(audit, change, ChangeOutcome::accepted, "it is deleted; what it holds goes on");
    reply.send({.status = 204, .content_type = {}, .body = {}, .fields = {}});
  });
}

}  // namespace

void add_fault_routes(http::Router& router, target_host::TargetServer& target, Audit* audit) {
  router.add("GET", "/v1/faults", [&target](const http::Request& request, http::Reply reply) {
    if (http::has_query(request, reply)) return;
    target.post([&target, reply = std::move(reply)](proto::Micros) mutable {
      json::array faults;
      for (const auto& each : target.faults().posted()) faults.push_back(to_json(each));
      reply.send(http::json_response(200, json::object{{"faults", std::move(faults)}}));
    });
  });
  router.add("POST", "/v1/faults", [&target, audit](const http::Request& request, http::Reply reply) {
    post_fault(target, audit, request, std::move(reply));
  });
  router.add("POST", "/v1/faults/{id}/delete", [&target, audit](const http::Request& request, http::Reply reply) {
    if (const http::Fields fields(request, {}); fields.refusal())
      return refuse(audit, {Verb::delete_fault, "fault " + request.parameters.front(), false, request.peer},
                    *fields.refusal(), reply);
    delete_fault(target, audit, request, std::move(reply));
  });
}

void add_control_routes(http::Router& router, target_host::TargetServer& target) {
  add_fault_routes(router, target, nullptr);
  router.add("DELETE", "/v1/faults", [&target](const http::Request&, http::Reply reply) {
    target.post([&target, reply = std::move(reply)](proto::Micros now) mutable {
      target.faults().clear(now);
      net::log::info({}, "target: all faults are deleted");
      reply.send({.status = 204, .content_type = {}, .body = {}, .fields = {}});
    });
  });
  router.add("DELETE", "/v1/faults/{id}", [&target](const http::Request& request, http::Reply reply) {
    delete_fault(target, nullptr, request, std::move(reply));
  });
  router.add("GET", "/v1/sessions", [&target](const http::Request&, http::Reply reply) {
    target.post([&target, reply = std::move(reply)](proto::Micros) mutable {
      json::array sessions;
      for (const auto& [tsih, session] : target.engine().sessions()) sessions.push_back(describe(*session, target));
      reply.send(http::json_response(200, json::object{{"sessions", std::move(sessions)}}));
    });
  });
}

}  // namespace nbdgw::admin
