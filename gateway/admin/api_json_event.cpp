#include <boost/json.hpp>

#include "gateway/admin/api_json.hpp"
#include "gateway/http/json_text.hpp"
#include "proto/nbd/names.hpp"
#include "proto/scsi/lun.hpp"
#include "proto/scsi/names.hpp"

/// What has happened, as JSON.
namespace nbdgw::admin {

namespace json = boost::json;
using initiator::RecoveryEvent;

namespace {

void add_rung(const RecoveryEvent& event, json::object& out) {
  out["session"] = event.tsih;
  out["cid"] = event.cid;
  if (event.lun != RecoveryEvent::kNoLun) out["lun"] = lun_number_of(event.lun);
  out["rung"] = initiator::to_string(event.rung);
  out["cause"] = event.cause;
  out["scope"] = initiator::to_string(event.scope);
}

void add(const RecoveryEvent& event, json::object& out) {
  const bool good = event.outcome == initiator::RungOutcome::success;
  out["kind"] = "rung";
  add_rung(event, out);
  out["text"] = good ? initiator::done_text(event.rung)
                     : std::string(initiator::now_text(event.rung)) + ": " + initiator::to_string(event.outcome);
  out["tasks"] = event.tasks;
  out["outcome"] = initiator::to_string(event.outcome);
  if (!event.proof.empty()) out["proof"] = event.proof;
  out["duration_seconds"] = http::seconds(event.duration);
}

void add(const shard::RungBegun& event, json::object& out) {
  out["kind"] = "rung_begun";
  add_rung(event.rung, out);
  out["text"] = initiator::now_text(event.rung.rung);
  out["by_hand"] = event.rung.request_id != 0;
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
    case Kind::hold_expired:
      return "hold_expired";
    case Kind::hold_over:
      return "hold_over";
  }
  return "unknown";
}

void add(const bridge::CacheEvent& event, json::object& out) {
  using Kind = bridge::CacheEvent::Kind;
  out["kind"] = kind_name(event.kind);
  out["lun"] = lun_number_of(event.lun);
  out["cause"] = event.cause;
  if (event.kind == Kind::in_doubt || event.kind == Kind::told) out["writes"] = event.writes;
  const bool expired = event.kind == Kind::hold_expired || event.kind == Kind::hold_over;
  if (event.kind == Kind::told || expired) out["requests"] = event.requests;
  if (expired) out["duration_seconds"] = http::seconds(event.duration);
  if (event.kind == Kind::rescanned) out["outcome"] = event.good ? "success" : "failed";
}

void add(const bridge::FailedCommand& command, json::object& out) {
  out["opcode"] = proto::scsi::opcode_text(command.opcode);
  if (command.blocks > 0) out["blocks"] = command.blocks;
  out["tries"] = command.tries;
  if (command.outcome != initiator::Outcome::completed) return;
  out["status"] = proto::scsi::to_string(static_cast<proto::scsi::Status>(command.status));
  if (!command.sense) return;
  out["sense"] = {{"key", proto::scsi::to_string(command.sense->key)},
                  {"asc", command.sense->asc},
                  {"ascq", command.sense->ascq}};
}

void add(const bridge::RequestFailure& failure, json::object& out) {
  out["kind"] = "request_failed";
  out["lun"] = lun_number_of(failure.lun);
  out["request"] = proto::nbd::to_string(failure.request);
  out["error"] = proto::nbd::to_string(failure.error);
  out["cause"] = explain(failure);
  if (failure.request != proto::nbd::Command::flush) {
    out["offset"] = failure.offset;
    out["length_bytes"] = failure.length;
    out["lba"] = failure.lba;
  }
  if (failure.command) add(*failure.command, out);
  out["count"] = failure.count;
  if (failure.over > 0) out["duration_seconds"] = http::seconds(failure.over);
  if (failure.mixed) out["mixed"] = true;
}

void add(const shard::StateEvent& event, json::object& out) {
  out["kind"] = to_string(event.kind);
  out["text"] = event.text;
  if (event.reason != nullptr) out["reason"] = event.reason;
  if (event.count > 0) out["count"] = event.count;
  if (event.duration) out["duration_seconds"] = http::seconds(*event.duration);
}

}  // namespace

std::uint64_t lun_number_of(std::uint64_t lun) noexcept {
  const auto number = proto::scsi::decode_lun(lun);
  return number ? *number : lun;
}

json::object to_json(const shard::EventRecord& record, std::uint64_t operation) {
  json::object out{{"sequence", record.sequence}, {"at", http::time_text(record.at)}, {"target", record.target}};
  std::visit([&](const auto& event) { add(event, out); }, record.event);
  if (!record.exported.empty()) out["export"] = record.exported;
  if (operation != 0) out["operation"] = operation;
  return out;
}

}  // namespace nbdgw::admin
