#include "gateway/admin/operations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "gateway/admin/api_json.hpp"
#include "gateway/http/json_text.hpp"
#include "gateway/net/log.hpp"

namespace nbdgw::admin {

using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;

namespace {

const char* name_of(Operation::State state) noexcept {
  switch (state) {
    case Operation::State::running:
      return "running";
    case Operation::State::succeeded:
      return "succeeded";
    case Operation::State::failed:
      return "failed";
  }
  return "?";
}

std::string describe(const RecoveryEvent& event) {
  std::string text = fmt::format("{}: {}, {} task(s) handed back", initiator::to_string(event.rung),
                                 initiator::to_string(event.outcome), event.tasks);
  if (!event.proof.empty()) text += ": " + event.proof;
  const bool proves_nothing = event.outcome == RungOutcome::success && event.tasks == 0 && event.proof.empty();
  if ((event.outcome != RungOutcome::success || proves_nothing) && !event.cause.empty()) text += ": " + event.cause;
  return text;
}

}  // namespace

bool Operations::full() const noexcept {
  return entries_.size() >= kMax && std::ranges::all_of(entries_, is_running);
}

const Operation& Operations::begin(const Change& change, std::string detail, OperationEnd end, Now now) {
  if (entries_.size() >= kMax) {
    const auto over = std::ranges::find_if_not(entries_, is_running);
    entries_.erase(over == entries_.end() ? entries_.begin() : over);
  }
  Entry& entry = entries_.emplace_back();
  entry.operation.id = ++last_;
  entry.operation.verb = change.verb;
  entry.operation.object = change.object;
  entry.operation.started_at = now.wall;
  entry.operation.detail = std::move(detail);
  entry.request = end.request;
  entry.deadline = now.steady + end.within;
  entry.end = std::move(end);
  return entry.operation;
}

void Operations::finish(Entry& entry, bool success, std::string outcome, std::string detail, Now now) {
  Operation& operation = entry.operation;
  operation.state = success ? Operation::State::succeeded : Operation::State::failed;
  operation.ended_at = now.wall;
  operation.outcome = std::move(outcome);
  operation.detail = std::move(detail);
  net::log::info({}, "admin: operation={} verb={} object={} outcome={} detail={}", operation.id,
                 to_string(operation.verb), net::log::quoted(operation.object, net::log::kWhole), operation.outcome,
                 net::log::quoted(operation.detail, net::log::kWhole));
}

void Operations::on_record(const shard::EventRecord& record, Now now) {
  const auto* event = std::get_if<RecoveryEvent>(&record.event);
  if (const auto* unit = std::get_if<bridge::CacheEvent>(&record.event)) return on_rescanned(*unit, now);
  if (event == nullptr) return;
  const bool success = event->outcome == RungOutcome::success;
  for (Entry& entry : entries_) {
    if (!is_running(entry)) continue;
    OperationEnd& end = entry.end;
    if (end.request != 0) {
      if (event->request_id != end.request) continue;
      if (success && !end.target.empty())
        end.request = 0;  // the first half; now the session must come back
      else
        finish(entry, success, initiator::to_string(event->outcome), describe(*event), now);
    } else if (!end.target.empty() && end.target == record.target && event->rung == Rung::relogin && success) {
      finish(entry, true, "success",
             fmt::format("the session is back after {:.3f} s", http::seconds(event->duration)), now);
    }
  }
}

void Operations::on_rescanned(const bridge::CacheEvent& event, Now now) {
  if (event.request_id == 0) return;
  for (Entry& entry : entries_) {
    if (is_running(entry) && entry.end.request == event.request_id)
      finish(entry, event.good, event.good ? "success" : "failed", event.cause, now);
  }
}

void Operations::on_view(const shard::GatewayView& view, Now now) {
  for (Entry& entry : entries_) {
    if (is_running(entry) && entry.end.client != 0 && find_client(view, entry.end.client) == nullptr)
      finish(entry, true, "success", "the client is gone", now);
  }
}

void Operations::on_deadline(Now now) {
  for (Entry& entry : entries_) {
    if (!is_running(entry) || now.steady < entry.deadline) continue;
    finish(entry, false, "unknown",
           fmt::format("its end was not seen within {:.0f} s; it may still come: look at {}",
                       http::seconds(entry.end.within), entry.operation.object),
           now);
  }
}

proto::Micros Operations::next_deadline() const noexcept {
  proto::Micros next = proto::kNever;
  for (const Entry& each : entries_)
    if (is_running(each)) next = std::min(next, each.deadline);
  return next;
}

bool Operations::awaits_clients() const noexcept {
  return std::ranges::any_of(entries_, [](const Entry& each) { return is_running(each) && each.end.client != 0; });
}

const Operation* Operations::find(std::uint64_t id) const noexcept {
  for (const Entry& each : entries_)
    if (each.operation.id == id) return &each.operation;
  return nullptr;
}

std::uint64_t Operations::of_request(std::uint32_t request) const noexcept {
  if (request == 0) return 0;
  for (const Entry& each : entries_)
    if (each.request == request) return each.operation.id;
  return 0;
}

boost::json::object to_json(const Operation& operation) {
  boost::json::object out{{"id", operation.id},
                          {"verb", to_string(operation.verb)},
                          {"object", operation.object},
                          {"state", name_of(operation.state)},
                          {"started_at", http::time_text(operation.started_at)}};
  if (operation.ended_at)
    out["ended_at"] = http::time_text(*operation.ended_at);
  else
    out["ended_at"] = nullptr;
  if (operation.outcome.empty())
    out["outcome"] = nullptr;
  else
    out["outcome"] = operation.outcome;
  out["detail"] = operation.detail;
  return out;
}

}  // namespace nbdgw::admin
