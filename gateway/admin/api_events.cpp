#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "gateway/admin/api.hpp"
#include "gateway/admin/api_json.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/net/clock.hpp"

namespace nbdgw::admin {

namespace {

constexpr proto::Micros kMaxWait = 25 * proto::kSecond;  // less than the server's own patience, HttpLimits::answer
/// Requests that wait for an event. A client that has gone meanwhile is in the list until its time is over, so they
/// could become more than there are places for clients; then the oldest is answered before its time.
constexpr std::size_t kMaxPolls = 256;

}  // namespace

http::Response Api::events_since(std::uint64_t since, std::uint64_t limit, bool& empty) const {
  // First: what comes between the two calls is for the next request.
  std::uint64_t last = gateway_.events().last();
  std::vector<shard::EventRecord> records = gateway_.events().since(since);
  empty = records.empty();
  if (records.size() > limit) records.resize(limit);
  if (!empty) last = records.back().sequence;
  // Between `since` and the last one that is told: those may be missing anywhere, for each class has its own ring.
  const std::uint64_t missed = empty ? 0 : last - since - records.size();
  boost::json::array events;
  for (const shard::EventRecord& each : records) {
    events.push_back(to_json(each, operations_.of_request(shard::EventLog::request_of(each))));
  }
  return http::json_response(200,
                             boost::json::object{{"events", std::move(events)}, {"last", last}, {"missed", missed}});
}

void Api::events(const http::Request& request, http::Reply reply) {
  http::Query query(request, {"since", "wait", "limit"});
  // Numbers that a program in any language can hold.
  const std::uint64_t since = query.number("since", 0, std::uint64_t{1} << 53, 0);
  const std::uint64_t limit = query.number("limit", 1, shard::EventLog::kCapacity, shard::EventLog::kCapacity);
  const proto::Micros wait = query.seconds("wait", kMaxWait, 0);
  if (query.refusal()) return reply.send(query.refusal()->response());
  bool empty = false;
  http::Response now = events_since(since, limit, empty);
  // A sequence beyond the last one comes from before a restart: whoever has it must hear of that at once.
  if (!empty || wait == 0 || since > gateway_.events().last()) return reply.send(std::move(now));
  if (polls_.size() >= kMaxPolls) {
    std::exchange(polls_.front().deadline, 0);
    answer_polls();
  }
  polls_.push_back({since, limit, net::steady_now() + wait, std::move(reply)});
  alarm_.set(polls_.back().deadline);
}

/// Those for whom there is something, or whose time is over.
void Api::answer_polls() {
  const proto::Micros now = net::steady_now();
  std::vector<Poll> rest;
  for (Poll& each : polls_) {
    bool empty = false;
    http::Response response = events_since(each.since, each.limit, empty);
    if (empty && now < each.deadline)
      rest.push_back({each.since, each.limit, each.deadline, std::move(each.reply)});
    else
      each.reply.send(std::move(response));
  }
  polls_.swap(rest);
}

void Api::on_record(const shard::EventRecord& record) {
  operations_.on_record(record, {net::steady_now(), net::wall_now()});
  answer_polls();
}

}  // namespace nbdgw::admin
