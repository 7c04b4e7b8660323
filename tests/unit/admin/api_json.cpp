#include "gateway/admin/api_json.hpp"

#include <boost/json.hpp>

#include <doctest/doctest.h>

#include "proto/scsi/lun.hpp"

using namespace nbdgw;
using namespace nbdgw::admin;
namespace json = boost::json;
using initiator::RecoveryEvent;

namespace {

shard::EventRecord rung_record() {
  RecoveryEvent event;
  event.rung = initiator::Rung::abort_task;
  event.scope = initiator::RungScope::task;
  event.outcome = initiator::RungOutcome::refused;
  event.duration = 1500;
  event.tsih = 17;
  event.cid = 2;
  event.lun = *proto::scsi::encode_lun(300);
  event.tasks = 1;
  event.cause = "by hand";
  return {.sequence = 5, .at = 0, .target = "t", .exported = {}, .event = event};
}

}  // namespace

TEST_CASE("API JSON: an export that has never been online shows no numbers of a LUN") {
  shard::ExportView view;
  view.name = "vol0";
  view.state = bridge::ExportState::offline;
  view.reason = "no path";
  view.info.preferred_block = 4096;
  const json::object shown = to_json(view);
  CHECK(shown.at("unit").is_null());
  CHECK(shown.at("size_bytes") == 0);
  CHECK(shown.at("preferred_block_bytes") == 0);
  CHECK(shown.at("state") == "offline");
  CHECK(shown.at("admin_state") == "ready");
  CHECK(shown.at("reason") == "no path");
}

TEST_CASE("API JSON: an export with its counters and its LUN") {
  shard::ExportView view;
  view.known = true;
  view.admin_state = shard::AdminState::maint;
  view.info.size = 1 << 20;
  view.facts.block_length = 512;
  view.facts.blocks = 2048;
  view.facts.lbpme = true;
  view.counters.retries_at_once = 1;
  view.counters.retries_delayed = 2;
  view.counters.held = 4;
  view.counters.failed = 8;
  view.counters.durations.write.add(250'000);
  view.counters.durations.write.add(250'000);
  view.held_for = 1'500'000;
  view.queue_depth = 16;
  view.tasks_in_flight = 20;
  view.tasks_held = 5;
  const json::object shown = to_json(view);
  CHECK(shown.at("admin_state") == "maint");
  CHECK(shown.at("size_bytes") == 1 << 20);
  CHECK(shown.at("held_for_seconds") == 1.5);
  CHECK(shown.at("queue") ==
        json::value{{"depth", 16}, {"in_flight", 20}, {"held", 5}, {"queued", 0}, {"delayed", 0}});
  CHECK(shown.at("counters").at("retries") == 7);
  CHECK(shown.at("counters").at("errors") == 8);
  CHECK(shown.at("latency").at("write") == json::value{{"count", 2}, {"sum_seconds", 0.5}});
  CHECK(shown.at("latency").at("read").at("count") == 0);
  CHECK(shown.at("unit").at("blocks") == 2048);
  CHECK(shown.at("unit").at("thin") == true);
  CHECK(shown.at("unit").at("medium") == "unknown");
}

TEST_CASE("API JSON: clients") {
  shard::ClientView view;
  view.id = 3;
  view.counters.requests[0] = 5;
  view.counters.requests[9] = 1;
  view.counters.replies[0] = 4;  // good ones
  view.counters.replies[2] = 2;
  json::object shown = to_json(view);
  CHECK(shown.at("export").is_null());
  CHECK(shown.at("phase") == "handshake");
  CHECK(shown.at("replies") == "simple");
  CHECK(shown.at("counters").at("requests") == 6);
  CHECK(shown.at("counters").at("errors") == 2);
  view.exported = "vol0";
  view.structured_replies = true;
  shown = to_json(view);
  CHECK(shown.at("export") == "vol0");
  CHECK(shown.at("replies") == "structured");
}

TEST_CASE("API JSON: sessions, what they climb, and tasks") {
  shard::SessionView view;
  view.target = "t";
  view.state = initiator::SessionState::logged_in;
  view.connections.emplace_back().cid = 4;
  CHECK(to_json(view).at("climb").is_null());
  view.climb.emplace();
  view.climb->rung = initiator::Rung::lu_reset;
  view.climb->scope = initiator::RungScope::lun;
  json::object shown = to_json(view);
  CHECK(shown.at("state") == "logged in");
  CHECK(shown.at("climb").at("lun").is_null());
  CHECK(shown.at("climb").at("by_hand") == false);
  CHECK(shown.at("connections").at(0).at("cid") == 4);
  view.climb->lun = *proto::scsi::encode_lun(300);
  view.climb->request_id = 1;
  shown = to_json(view);
  CHECK(shown.at("climb").at("lun") == 300);
  CHECK(shown.at("climb").at("by_hand") == true);
  shard::TaskView task;
  task.opcode = 0x8a;
  CHECK(to_json(task).at("opcode") == "WRITE(16)");
  task.opcode = 0xc7;
  CHECK(to_json(task).at("opcode") == "0xc7");
}

TEST_CASE("API JSON: events have what applies to them, and nothing else") {
  const json::object rung = to_json(rung_record(), 9);
  CHECK(rung == json::object{{"sequence", 5},
                             {"at", "1970-01-01T00:00:00.000000Z"},
                             {"target", "t"},
                             {"kind", "rung"},
                             {"session", 17},
                             {"cid", 2},
                             {"lun", 300},
                             {"rung", "abort_task"},
                             {"cause", "by hand"},
                             {"scope", "task"},
                             {"text", "is aborting a task: refused"},
                             {"tasks", 1},
                             {"outcome", "refused"},
                             {"duration_seconds", 0.0015},
                             {"operation", 9}});
  shard::EventRecord record = rung_record();
  std::get<RecoveryEvent>(record.event).lun = RecoveryEvent::kNoLun;
  CHECK_FALSE(to_json(record, 0).contains("lun"));
  CHECK_FALSE(to_json(record, 0).contains("operation"));
  std::get<RecoveryEvent>(record.event).proof = "ABORT TASK completed";
  CHECK(to_json(record, 0).at("proof") == "ABORT TASK completed");
  record.exported = "vol0";
  bridge::CacheEvent cache;
  cache.kind = bridge::CacheEvent::Kind::in_doubt;
  cache.writes = 12;
  record.event = cache;
  CHECK_FALSE(to_json(record, 0).contains("session"));
  CHECK_FALSE(to_json(record, 0).contains("requests"));
  CHECK(to_json(record, 0).at("kind") == "cache_in_doubt");
  CHECK(to_json(record, 0).at("export") == "vol0");
  cache.kind = bridge::CacheEvent::Kind::told;
  record.event = cache;
  CHECK(to_json(record, 0).at("kind") == "cache_told");
  CHECK(to_json(record, 0).at("requests") == 0);
  for (const auto& [kind, name] : {std::pair{bridge::CacheEvent::Kind::in_question, "lun_in_question"},
                                   {bridge::CacheEvent::Kind::confirmed, "lun_confirmed"},
                                   {bridge::CacheEvent::Kind::refused, "lun_refused"},
                                   {bridge::CacheEvent::Kind::threshold, "lun_threshold"},
                                   {bridge::CacheEvent::Kind::same_disk, "same_disk"},
                                   {bridge::CacheEvent::Kind::grown, "lun_grown"},
                                   {bridge::CacheEvent::Kind::rescanned, "lun_rescanned"},
                                   {bridge::CacheEvent::Kind::hold_expired, "hold_expired"},
                                   {bridge::CacheEvent::Kind::hold_over, "hold_over"}}) {
    cache.kind = kind;
    record.event = cache;
    CHECK(to_json(record, 0).at("kind") == name);
    CHECK_FALSE(to_json(record, 0).contains("writes"));
  }
}

TEST_CASE("API JSON: an error that a client was told, a rung that begins, and states") {
  shard::EventRecord record = rung_record();
  record.event = shard::RungBegun{std::get<RecoveryEvent>(record.event)};
  CHECK(to_json(record, 0).at("kind") == "rung_begun");
  CHECK(to_json(record, 0).at("text") == "is aborting a task");
  CHECK_FALSE(to_json(record, 0).contains("outcome"));
  bridge::RequestFailure failure;
  failure.lun = *proto::scsi::encode_lun(3);
  failure.request = proto::nbd::Command::write;
  failure.length = 4096;
  failure.error = proto::nbd::Error::enospc;
  failure.text = "no space";
  record.exported = "vol0";
  record.event = failure;
  json::object shown = to_json(record, 0);
  CHECK(shown.at("error") == "NBD_ENOSPC");
  CHECK(shown.at("request") == "write");
  CHECK(shown.at("cause") == "no space");
  CHECK(shown.at("count") == 1);
  CHECK_FALSE(shown.contains("opcode"));
  CHECK_FALSE(shown.contains("duration_seconds"));
  failure.command = {.opcode = 0xff, .outcome = initiator::Outcome::aborted, .sense = {}, .tries = 6};
  failure.count = 9;
  failure.over = 1'000'000;
  record.event = failure;
  shown = to_json(record, 0);
  CHECK(shown.at("opcode") == "0xff");
  CHECK(shown.at("tries") == 6);
  CHECK(shown.at("duration_seconds") == 1.0);
  CHECK_FALSE(shown.contains("status"));
  shard::StateEvent state{.kind = shard::StateEvent::Kind::clients_refused, .text = "away", .reason = "limit"};
  state.count = 2;
  record = {.sequence = 6, .at = 0, .target = {}, .exported = {}, .event = state};
  shown = to_json(record, 0);
  CHECK(shown.at("kind") == "clients_refused");
  CHECK(shown.at("target") == "");
  CHECK(shown.at("reason") == "limit");
  CHECK(shown.at("count") == 2);
  CHECK_FALSE(shown.contains("export"));
}

TEST_CASE("API JSON: lists are in the same order whatever the shards are") {
  shard::GatewayView view;
  view.shards.resize(2);
  view.shards[0].exports.resize(1);
  view.shards[0].exports[0].name = "b";
  view.shards[1].exports.resize(1);
  view.shards[1].exports[0].name = "a";
  view.shards[1].exports[0].state = bridge::ExportState::online;
  view.shards[0].clients.resize(1);
  view.shards[0].clients[0].id = 9;
  view.shards[1].clients.resize(1);
  view.shards[1].clients[0].id = 2;
  view.shards[0].sessions.resize(1);
  view.shards[0].sessions[0].target = "t";
  view.shards[0].sessions[0].climb.emplace();
  view.shards[0].memory_used = 1;
  view.shards[1].memory_used = 2;
  CHECK(exports_json(view).at(0).at("name") == "a");
  CHECK(exports_json(view).at(1).at("name") == "b");
  CHECK(clients_json(view).at(0).at("id") == 2);
  CHECK(sessions_json(view).size() == 1);
  json::object status;
  add_status(view, status);
  CHECK(status.at("exports") == json::value{{"total", 2}, {"online", 1}});
  CHECK(status.at("sessions") == json::value{{"total", 1}, {"logged_in", 0}});
  CHECK(status.at("climbing") == json::array{"t"});
  CHECK(status.at("memory").at("used_bytes") == 3);
  CHECK(find_export(view, "b") == &view.shards[0].exports[0]);
  CHECK(find_export(view, "c") == nullptr);
  CHECK(find_client(view, 2) == &view.shards[1].clients[0]);
  CHECK(find_session(view, "u") == nullptr);
}
