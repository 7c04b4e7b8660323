#include "gateway/admin/operations.hpp"

#include <boost/json.hpp>

#include <doctest/doctest.h>

using namespace nbdgw;
using namespace nbdgw::admin;
using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;

namespace {

constexpr Now at(proto::Micros second) {
  return {second * proto::kSecond, 1'000'000'000 + second * proto::kSecond};
}

Change change(Verb verb = Verb::reset_lun) {
  return {verb, "target t LUN 1", false, "somebody"};
}

shard::EventRecord record(Rung rung, RungOutcome outcome, std::uint32_t request, const std::string& target = "t") {
  RecoveryEvent event;
  event.rung = rung;
  event.outcome = outcome;
  event.request_id = request;
  event.tasks = 3;
  event.cause = "because";
  return {.sequence = 1, .at = 0, .target = target, .exported = {}, .event = event};
}

shard::GatewayView with_clients(std::initializer_list<std::uint64_t> ids) {
  shard::GatewayView view;
  shard::ShardView& shard = view.shards.emplace_back();
  for (const std::uint64_t id : ids) shard.clients.emplace_back().id = id;
  return view;
}

OperationEnd by_request(std::uint32_t request) {
  return {.request = request, .target = {}, .client = 0, .within = 10 * proto::kSecond};
}

}  // namespace

TEST_CASE("operations: end with the event of their request") {
  Operations operations;
  const std::uint64_t id = operations.begin(change(), "begun", by_request(7), at(0)).id;
  const std::uint64_t other = operations.begin(change(), "begun", by_request(8), at(0)).id;
  CHECK(id == 1);
  CHECK(other == 2);
  CHECK(operations.of_request(7) == 1);
  CHECK(operations.of_request(9) == 0);
  CHECK(operations.of_request(0) == 0);
  const auto shown = to_json(*operations.find(id));
  CHECK(shown.at("state") == "running");
  CHECK(shown.at("outcome").is_null());
  CHECK(shown.at("ended_at").is_null());
  operations.on_record(record(Rung::lu_reset, RungOutcome::success, 0), at(1));  // the ladder's own doing
  CHECK(operations.find(id)->state == Operation::State::running);
  operations.on_record(record(Rung::lu_reset, RungOutcome::success, 7), at(1));
  CHECK(operations.find(id)->state == Operation::State::succeeded);
  CHECK(operations.find(id)->outcome == "success");
  CHECK(operations.find(id)->ended_at == at(1).wall);
  CHECK(operations.find(id)->detail == "lu_reset: success, 3 task(s) handed back");
  CHECK(operations.find(other)->state == Operation::State::running);
  CHECK(operations.of_request(7) == 1);  // also when it is over
  // A session reset follows a function that was not answered, under the same number: what came first counts.
  operations.on_record(record(Rung::lu_reset, RungOutcome::timed_out, 8), at(2));
  operations.on_record(record(Rung::session_reset, RungOutcome::success, 8), at(2));
  CHECK(operations.find(other)->state == Operation::State::failed);
  CHECK(operations.find(other)->outcome == "timed_out");
  CHECK(operations.find(other)->detail == "lu_reset: timed_out, 3 task(s) handed back: because");
}

TEST_CASE("operations: a rescan ends with the event of its number, and tells what came of it") {
  for (const bool good : {true, false}) {
    Operations operations;
    const std::uint64_t id = operations.begin(change(Verb::rescan_export), "begun", by_request(7), at(0)).id;
    shard::EventRecord record{.sequence = 1, .at = 0, .target = "t", .exported = "vol0", .event = {}};
    bridge::CacheEvent event;
    event.kind = bridge::CacheEvent::Kind::grown;
    record.event = event;
    operations.on_record(record, at(1));
    event.kind = bridge::CacheEvent::Kind::rescanned;
    event.request_id = 8;
    record.event = event;
    operations.on_record(record, at(1));
    CHECK(operations.find(id)->state == Operation::State::running);
    event.request_id = 7;
    event.good = good;
    event.cause = "the size";
    record.event = event;
    operations.on_record(record, at(2));
    CHECK(operations.find(id)->state == (good ? Operation::State::succeeded : Operation::State::failed));
    CHECK(operations.find(id)->outcome == (good ? "success" : "failed"));
    CHECK(operations.find(id)->detail == "the size");
    CHECK(operations.of_request(7) == id);
  }
}

TEST_CASE("operations: every outcome of a rung is a word of its own") {
  for (const RungOutcome outcome :
       {RungOutcome::not_found, RungOutcome::refused, RungOutcome::timed_out, RungOutcome::failed}) {
    Operations operations;
    const std::uint64_t id = operations.begin(change(), "", by_request(1), at(0)).id;
    operations.on_record(record(Rung::abort_task, outcome, 1), at(1));
    CHECK(operations.find(id)->state == Operation::State::failed);
    CHECK(operations.find(id)->outcome == initiator::to_string(outcome));
  }
}

TEST_CASE("operations: a session reset is over when the session is back") {
  Operations operations;
  OperationEnd end = by_request(5);
  end.target = "t";
  const std::uint64_t id = operations.begin(change(Verb::reset_session), "", end, at(0)).id;
  operations.on_record(record(Rung::relogin, RungOutcome::success, 0), at(1));  // of an earlier loss
  CHECK(operations.find(id)->state == Operation::State::running);
  operations.on_record(record(Rung::session_reset, RungOutcome::success, 5), at(2));
  CHECK(operations.find(id)->state == Operation::State::running);
  operations.on_record(record(Rung::relogin, RungOutcome::success, 0, "u"), at(3));
  CHECK(operations.find(id)->state == Operation::State::running);
  operations.on_record(record(Rung::relogin, RungOutcome::success, 0), at(4));
  CHECK(operations.find(id)->state == Operation::State::succeeded);
  CHECK(operations.find(id)->ended_at == at(4).wall);
}

TEST_CASE("operations: a session reset that could not be begun") {
  Operations operations;
  OperationEnd end = by_request(5);
  end.target = "t";
  const std::uint64_t id = operations.begin(change(Verb::reset_session), "", end, at(0)).id;
  operations.on_record(record(Rung::session_reset, RungOutcome::failed, 5), at(2));
  CHECK(operations.find(id)->outcome == "failed");
}

TEST_CASE("operations: a client that is sent away") {
  Operations operations;
  CHECK_FALSE(operations.awaits_clients());
  const std::uint64_t id = operations
                               .begin(change(Verb::disconnect_client), "",
                                      {.request = 0, .target = {}, .client = 4, .within = proto::kSecond}, at(0))
                               .id;
  CHECK(operations.awaits_clients());
  operations.on_view(with_clients({3, 4}), at(0));
  CHECK(operations.find(id)->state == Operation::State::running);
  operations.on_view(with_clients({3}), at(0));
  CHECK(operations.find(id)->state == Operation::State::succeeded);
  CHECK_FALSE(operations.awaits_clients());
}

TEST_CASE("operations: an end that is not seen in time is not made up") {
  Operations operations;
  CHECK(operations.next_deadline() == proto::kNever);
  const std::uint64_t id = operations.begin(change(), "", by_request(1), at(0)).id;
  CHECK(operations.next_deadline() == at(10).steady);
  operations.on_deadline(at(9));
  CHECK(operations.find(id)->state == Operation::State::running);
  operations.on_deadline(at(10));
  CHECK(operations.find(id)->state == Operation::State::failed);
  CHECK(operations.find(id)->outcome == "unknown");
  CHECK(operations.next_deadline() == proto::kNever);
  operations.on_record(record(Rung::lu_reset, RungOutcome::success, 1), at(11));  // it has been told already
  CHECK(operations.find(id)->outcome == "unknown");
}

TEST_CASE("operations: the table is bounded, and what runs stays longest") {
  Operations operations;
  for (std::uint32_t i = 1; i <= Operations::kMax; ++i) operations.begin(change(), "", by_request(i), at(0));
  CHECK(operations.full());
  operations.on_record(record(Rung::lu_reset, RungOutcome::success, 3), at(1));
  CHECK_FALSE(operations.full());
  operations.begin(change(), "", by_request(1000), at(2));
  CHECK(operations.find(3) == nullptr);
  CHECK(operations.find(1) != nullptr);
  CHECK(operations.full());
  operations.begin(change(), "", by_request(1001), at(2));  // several were on their way when it became full
  CHECK(operations.find(1) == nullptr);
  std::uint64_t last = 0;
  std::size_t count = 0;
  operations.for_each([&](const Operation& each) {
    CHECK(each.id > last);
    last = each.id;
    ++count;
  });
  CHECK(count == Operations::kMax);
}
