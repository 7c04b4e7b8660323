#include <boost/json.hpp>
#include <numeric>

#include "gateway/admin/api_json.hpp"
#include "gateway/http/json_text.hpp"

namespace nbdgw::admin {

namespace json = boost::json;

namespace {

const char* name_of(device::Medium medium) noexcept {
  switch (medium) {
    case device::Medium::unknown:
      return "unknown";
    case device::Medium::solid_state:
      return "solid_state";
    case device::Medium::rotating:
      return "rotating";
  }
  return "?";
}

const char* name_of(nbd::Connection::Phase phase) noexcept {
  using Phase = nbd::Connection::Phase;
  switch (phase) {
    case Phase::handshake:
      return "handshake";
    case Phase::resuming:
      return "resuming";
    case Phase::transmission:
      return "transmission";
    case Phase::parting:
      return "parting";
    case Phase::draining:
      return "draining";
    case Phase::disconnecting:
      return "disconnecting";
    case Phase::closing:
      return "closing";
    case Phase::closed:
      return "closed";
  }
  return "?";
}

json::object counters(const shard::ExportView& view) {
  const bridge::ExportCounters& counted = view.counters;
  return {{"reads", counted.reads},
          {"writes", counted.writes},
          {"flushes", counted.flushes},
          {"trims", counted.trims},
          {"write_zeroes", counted.write_zeroes},
          {"bytes_read", counted.bytes_read},
          {"bytes_written", counted.bytes_written},
          {"errors", counted.failed},
          {"fence_waits", counted.fenced},
          {"retries", counted.retries_at_once + counted.retries_delayed + counted.held},
          {"unit_attentions", counted.unit_attentions},
          {"flush_failures", counted.flushes_failed_for_lost_cache},
          {"path_losses", counted.path_losses}};
}

json::object latency(const proto::DurationHistogram& durations) {
  const auto& buckets = durations.buckets();
  return {{"count", std::accumulate(buckets.begin(), buckets.end(), std::uint64_t{0})},
          {"sum_seconds", http::seconds(durations.sum())}};
}

json::object latencies(const bridge::RequestDurations& durations) {
  return {{"read", latency(durations.read)},
          {"write", latency(durations.write)},
          {"flush", latency(durations.flush)},
          {"trim", latency(durations.trim)},
          {"write_zeroes", latency(durations.write_zeroes)}};
}

json::object unit(const device::Facts& facts) {
  return {{"vendor", facts.vendor},
          {"product", facts.product},
          {"revision", facts.revision},
          {"serial", facts.serial},
          {"identifier", facts.identifier},
          {"block_length", facts.block_length},
          {"blocks", facts.blocks},
          {"physical_block_length", facts.physical_block_length},
          {"write_protected", facts.write_protected},
          {"write_cache", facts.write_cache},
          {"dpofua", facts.dpofua},
          {"medium", name_of(facts.medium)},
          {"thin", facts.lbpme},
          {"unmap", device::can_unmap(facts)},
          {"write_same", facts.write_same},
          {"max_transfer_blocks", device::max_transfer_blocks(facts)}};
}

}  // namespace

json::object to_json(const shard::ExportView& view) {
  json::object out{{"name", view.name},
                   {"description", view.info.description},
                   {"target", view.target},
                   {"lun", view.lun},
                   {"admin_state", shard::to_string(view.admin_state)},
                   {"state", bridge::to_string(view.state)},
                   {"reason", view.reason},
                   {"required", view.required},
                   {"read_only", view.info.read_only},
                   {"size_bytes", view.known ? view.info.size : 0},
                   {"block_size", view.known ? view.info.min_block : 0},
                   {"preferred_block_bytes", view.known ? view.info.preferred_block : 0},
                   {"clients", view.clients},
                   {"in_flight", view.in_flight},
                   {"held", view.held},
                   {"held_for_seconds", http::seconds(view.held_for)},
                   {"down_seconds", http::seconds(view.down_for)},
                   {"oldest_request_seconds", http::seconds(view.oldest_request)},
                   {"counters", counters(view)},
                   {"latency", latencies(view.counters.durations)}};
  out["queue"] = {{"depth", view.queue_depth},
                  {"in_flight", view.tasks_in_flight},
                  {"held", view.tasks_held},
                  {"queued", view.tasks_queued},
                  {"delayed", view.tasks_delayed}};
  out["cache"] = {{"unflushed_writes", view.unflushed_writes},
                  {"doubtful_writes", view.doubtful_writes},
                  {"flushes_to_fail", view.flushes_to_fail}};
  if (view.known)
    out["unit"] = unit(view.facts);
  else
    out["unit"] = nullptr;
  return out;
}

json::object to_json(const shard::ClientView& view) {
  const nbd::Counters& counted = view.counters;
  // The first of the replies is success.
  const auto requests = std::accumulate(counted.requests.begin(), counted.requests.end(), std::uint64_t{0});
  const auto errors = std::accumulate(counted.replies.begin() + 1, counted.replies.end(), std::uint64_t{0});
  json::object out{{"id", view.id}, {"peer", view.peer}};
  if (view.exported.empty())
    out["export"] = nullptr;
  else
    out["export"] = view.exported;
  out["age_seconds"] = http::seconds(view.age);
  out["phase"] = name_of(view.phase);
  out["tls"] = view.tls;
  out["replies"] = view.structured_replies ? "structured" : "simple";
  out["in_flight"] = view.in_flight;
  out["stalled"] = view.stalled;
  out["flush_will_fail"] = view.flush_will_fail;
  out["counters"] = {{"requests", requests},
                     {"errors", errors},
                     {"bytes_read", counted.bytes_read},
                     {"bytes_written", counted.bytes_written}};
  return out;
}

}  // namespace nbdgw::admin
