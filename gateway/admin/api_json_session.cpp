#include <boost/json.hpp>

#include "gateway/admin/api_json.hpp"
#include "gateway/http/json_text.hpp"
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

json::object climb(const shard::ClimbView& view) {
  json::object out{{"rung", initiator::to_string(view.rung)},
                   {"now", initiator::now_text(view.rung)},
                   {"scope", initiator::to_string(view.scope)}};
  if (view.lun == RecoveryEvent::kNoLun)
    out["lun"] = nullptr;
  else
    out["lun"] = lun_number_of(view.lun);
  out["cid"] = view.cid;
  out["cause"] = view.cause;
  out["age_seconds"] = http::seconds(view.age);
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

}  // namespace

json::object to_json(const shard::ConnectionView& view) {
  json::object out{{"cid", view.cid},
                   {"state", initiator::to_string(view.state)},
                   {"portal", view.portal},
                   {"header_digest", view.header_digest},
                   {"data_digest", view.data_digest},
                   {"age_seconds", http::seconds(view.age)},
                   {"silent_seconds", http::seconds(view.silent_for)},
                   {"pinging", view.pinging},
                   {"tasks", view.tasks},
                   {"outstanding_bytes", view.outstanding_bytes}};
  out["counters"] = {{"pdus_sent", view.counters.pdus_sent},
                     {"pdus_received", view.counters.pdus_received},
                     {"bytes_sent", view.counters.bytes_sent},
                     {"bytes_received", view.counters.bytes_received}};
  return out;
}

json::object to_json(const shard::SessionView& view) {
  const bool up = view.state == initiator::SessionState::logged_in;
  json::object out{{"target", view.target},
                   {"iqn", view.iqn},
                   {"state", initiator::to_string(view.state)},
                   {"trouble", view.trouble},
                   {"age_seconds", http::seconds(view.age)},
                   {"down_seconds", up ? 0 : http::seconds(view.age)},
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

json::object to_json(const shard::TaskView& view) {
  return {{"itt", view.itt},
          {"cmd_sn", view.cmd_sn},
          {"cid", view.cid},
          {"lun", view.lun},
          {"opcode", proto::scsi::opcode_text(view.opcode)},
          {"lba", view.lba},
          {"length_bytes", view.length},
          {"state", name_of(view.state)},
          {"overdue", view.overdue},
          {"age_seconds", http::seconds(view.age)},
          {"idle_seconds", http::seconds(view.idle)},
          {"deadline_seconds", http::seconds(view.deadline)}};
}

}  // namespace nbdgw::admin
