#include <fmt/format.h>

#include <boost/json.hpp>

#include "gateway/admin/api_json.hpp"
#include "gateway/admin/json_text.hpp"
#include "proto/scsi/lun.hpp"
#include "proto/scsi/names.hpp"

namespace nbdgw::admin {

namespace json = boost::json;
using initiator::RecoveryEvent;

namespace {

const char* name_of(initiator::TaskState state) noexcept {
  using initiator::TaskState;
  switch (state) {
    case TaskState::free:
      return "free";
    case TaskState::running:
      return "running";
    case TaskState::completed:
      return "completed";
    case TaskState::abrt_tmf:
      return "abrt_tmf";
    case TaskState::abrt_sess_recov:
      return "abrt_sess_recov";
  }
  return "?";
}

/// "WRITE(16)"; "0x12" where there is no name.
std::string opcode_text(std::uint8_t opcode) {
  const std::string_view name = proto::scsi::to_string(static_cast<proto::scsi::Opcode>(opcode));
  return name == "other" ? fmt::format("0x{:02x}", opcode) : std::string(name);
}

/// As people write it; a form that has no such number as it is on the wire.
std::uint64_t lun_number(std::uint64_t lun) noexcept {
  const auto number = proto::scsi::decode_lun(lun);
  return number ? *number : lun;
}

json::object climb(const net::ClimbView& view) {
  json::object out{{"rung", initiator::to_string(view.rung)}, {"scope", initiator::to_string(view.scope)}};
  if (view.lun == RecoveryEvent::kNoLun)
    out["lun"] = nullptr;
  else
    out["lun"] = lun_number(view.lun);
  out["cid"] = view.cid;
  out["cause"] = view.cause;
  out["age_seconds"] = seconds(view.age);
  out["by_hand"] = view.request_id != 0;
  return out;
}

json::object counters(const initiator::SessionCounters& counted) {
  return {{"logins", counted.logins},
          {"login_failures", counted.login_failures},
          {"losses", counted.losses},
          {"commands", counted.commands},
          {"window_closed", counted.window_closed},
          {"digest_errors", counted.digest_errors},
          {"rejects", counted.rejects},
          {"async_messages", counted.async_messages},
          {"pings", counted.pings},
          {"late_answers", counted.late_answers},
          {"commands_timed_out", counted.commands_timed_out}};
}

void add(const RecoveryEvent& event, json::object& out) {
  out["kind"] = "rung";
  out["session"] = event.tsih;
  out["cid"] = event.cid;
  if (event.lun != RecoveryEvent::kNoLun) out["lun"] = lun_number(event.lun);
  out["rung"] = initiator::to_string(event.rung);
  out["cause"] = event.cause;
  out["scope"] = initiator::to_string(event.scope);
  out["tasks"] = event.tasks;
  out["outcome"] = initiator::to_string(event.outcome);
  if (!event.proof.empty()) out["proof"] = event.proof;
  out["duration_seconds"] = seconds(event.duration);
}

const char* kind_name(bridge::CacheEvent::Kind kind) {
  using Kind = bridge::CacheEvent::Kind;
  switch (kind) {
    case Kind::in_doubt:
      return "cache_in_doubt";
    case Kind::told:
      return "cache_told";
    case Kind::in_question:
      return "lun_in_question";
    case Kind::confirmed:
      return "lun_confirmed";
    case Kind::refused:
      return "lun_refused";
    case Kind::threshold:
      return "lun_threshold";
    case Kind::same_disk:
      return "same_disk";
    case Kind::grown:
      return "lun_grown";
    case Kind::rescanned:
      return "lun_rescanned";
  }
  return "unknown";
}

void add(const bridge::CacheEvent& event, json::object& out) {
  using Kind = bridge::CacheEvent::Kind;
  out["kind"] = kind_name(event.kind);
  out["lun"] = lun_number(event.lun);
  out["cause"] = event.cause;
  if (event.kind == Kind::in_doubt || event.kind == Kind::told) out["writes"] = event.writes;
  if (event.kind == Kind::told) out["requests"] = event.requests;
  if (event.kind == Kind::rescanned) out["outcome"] = event.good ? "success" : "failed";
}

}  // namespace

json::object to_json(const net::ConnectionView& view) {
  json::object out{{"cid", view.cid},
                   {"state", initiator::to_string(view.state)},
                   {"portal", view.portal},
                   {"header_digest", view.header_digest},
                   {"data_digest", view.data_digest},
                   {"age_seconds", seconds(view.age)},
                   {"silent_seconds", seconds(view.silent_for)},
                   {"pinging", view.pinging},
                   {"tasks", view.tasks},
                   {"outstanding_bytes", view.outstanding_bytes}};
  out["counters"] = {{"pdus_sent", view.counters.pdus_sent},
                     {"pdus_received", view.counters.pdus_received},
                     {"bytes_sent", view.counters.bytes_sent},
                     {"bytes_received", view.counters.bytes_received}};
  return out;
}

json::object to_json(const net::SessionView& view) {
  json::object out{{"target", view.target},
                   {"iqn", view.iqn},
                   {"state", initiator::to_string(view.state)},
                   {"trouble", view.trouble},
                   {"age_seconds", seconds(view.age)},
                   {"tsih", view.tsih},
                   {"isid", view.isid},
                   {"portal", view.portal},
                   {"portal_group", view.group ? json::value(*view.group) : json::value(nullptr)},
                   {"portal_reason", view.portal_reason}};
  out["window"] = {{"cmd_sn", view.cmd_sn},
                   {"exp_cmd_sn", view.exp_cmd_sn},
                   {"max_cmd_sn", view.max_cmd_sn},
                   {"open", view.window}};
  out["tasks"] = view.tasks;
  out["tasks_max"] = view.tasks_max;
  out["connections_wanted"] = view.connections_wanted;
  out["connections"] = connections_json(view);
  if (view.climb)
    out["climb"] = climb(*view.climb);
  else
    out["climb"] = nullptr;
  out["counters"] = counters(view.counters);
  return out;
}

json::object to_json(const net::TaskView& view) {
  return {{"itt", view.itt},
          {"cmd_sn", view.cmd_sn},
          {"cid", view.cid},
          {"lun", view.lun},
          {"opcode", opcode_text(view.opcode)},
          {"lba", view.lba},
          {"length_bytes", view.length},
          {"state", name_of(view.state)},
          {"overdue", view.overdue},
          {"age_seconds", seconds(view.age)},
          {"idle_seconds", seconds(view.idle)},
          {"deadline_seconds", seconds(view.deadline)}};
}

json::object to_json(const net::RecoveryRecord& record, std::uint64_t operation) {
  json::object out{{"sequence", record.sequence}, {"at", time_text(record.at)}, {"target", record.target}};
  std::visit([&](const auto& event) { add(event, out); }, record.event);
  if (!record.exported.empty()) out["export"] = record.exported;
  if (operation != 0) out["operation"] = operation;
  return out;
}

}  // namespace nbdgw::admin
