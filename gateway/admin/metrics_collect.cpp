#include "gateway/admin/metrics_collect.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gateway/http/json_text.hpp"
#include "gateway/initiator/counters.hpp"
#include "gateway/nbd/close_reason.hpp"
#include "proto/assert.hpp"
#include "proto/iscsi/names.hpp"
#include "proto/nbd/names.hpp"
#include "proto/scsi/names.hpp"
#include "proto/time.hpp"

namespace nbdgw::admin {

namespace {

/// Exact below 2^53: nothing here gets there in the life of a machine.
double number(std::uint64_t value) noexcept {
  return static_cast<double>(value);
}

/// Names for people may have spaces; the values of labels have none.
struct Label {
  const char* name;
  explicit operator std::string() const {
    std::string label(name);
    std::ranges::replace(label, ' ', '_');
    return label;
  }
};

/// 1 for the state it is in, 0 for all others.
template <typename State, std::size_t kCount>
void put_state(MetricSeries& series, const Metric& metric, const std::array<State, kCount>& states, State current) {
  for (const State each : states) series.put(metric, each == current ? 1 : 0, Label{to_string(each)});
}

template <typename Table>
void put_table(MetricSeries& series, const Metric& metric, const Table& table,
               std::span<const std::uint64_t, Table::kPlaces> counts) {
  for (std::size_t i = 0; i < Table::kOther; ++i) series.put(metric, number(counts[i]), to_string(table.known()[i]));
  series.put(metric, number(counts[Table::kOther]), "other");
}

/// Histograms of one metric, each with the value of its label. They are most of the text, and most of them belong to
/// what never happens (a TRIM of this export, a rung of that session): so a histogram comes with its first duration.
class Durations {
 public:
  void add(const proto::DurationHistogram& histogram, const char* label) noexcept {
    NBDGW_ASSERT(offered_ < all_.size(), "as many as there are commands, or rungs");
    if (histogram.count() > 0) {
      all_[count_++] = {&histogram, label};
      shape_ |= std::size_t{1} << offered_;
    }
    ++offered_;
  }
  void put(MetricSeries& series, const Metric& metric) const {
    for (const auto& [histogram, label] : std::span(all_).first(count_)) series.put(metric, *histogram, label);
  }
  /// Which of them there are, below kShapes.
  std::size_t shape() const noexcept { return shape_; }

  static constexpr std::size_t kMost = 16;
  static constexpr std::size_t kShapes = std::size_t{1} << kMost;

 private:
  std::array<std::pair<const proto::DurationHistogram*, const char*>, kMost> all_{};
  std::size_t count_ = 0;
  std::size_t offered_ = 0;
  std::size_t shape_ = 0;
};

Durations request_durations(const bridge::ExportCounters& counters) {
  Durations durations;
  durations.add(counters.durations.read, "read");
  durations.add(counters.durations.write, "write");
  durations.add(counters.durations.flush, "flush");
  durations.add(counters.durations.trim, "trim");
  durations.add(counters.durations.write_zeroes, "write_zeroes");
  return durations;
}

Durations rung_durations(const initiator::SessionCounters& counters) {
  Durations durations;
  for (std::size_t rung = 0; rung < initiator::kRungCount; ++rung)
    durations.add(counters.rung_durations[rung], to_string(static_cast<initiator::Rung>(rung)));
  return durations;
}

void put_requests(MetricSeries& series, const nbd::Counters& counters) {
  for (std::size_t i = 0; i < nbd::Counters::kCommands; ++i) {
    const auto command = static_cast<proto::nbd::Command>(i);  // the last one stands for all others, and is called so
    series.put(metric::nbd_requests_total, number(counters.requests[i]), to_string(command));
  }
  using enum proto::nbd::Error;
  for (const proto::nbd::Error error : {eperm, eio, enomem, einval, enospc, eoverflow, enotsup, eshutdown}) {
    const std::uint64_t count = counters.replies[nbd::Counters::index_of(error)];
    series.put(metric::nbd_errors_total, number(count), to_string(error));
  }
}

void put_tasks(MetricSeries& series, const shard::ExportView& view) {
  using namespace metric;
  const bridge::ExportCounters& counters = view.counters;
  series.put(scsi_tasks_in_flight, view.tasks_in_flight);
  series.put(scsi_tasks_held, view.tasks_held);
  series.put(scsi_tasks_queued, view.tasks_queued + view.tasks_delayed);
  series.put(scsi_queue_depth, view.queue_depth);
  series.put(scsi_retries_total, number(counters.retries_at_once), "at_once");
  series.put(scsi_retries_total, number(counters.retries_delayed), "delayed");
  series.put(scsi_retries_total, number(counters.held), "session_lost");
  series.put(scsi_queue_full_total, number(counters.queue_full));
}

void put_recovery(MetricSeries& series, const shard::SessionView& view, const Durations& durations) {
  using initiator::Rung;
  using initiator::RungOutcome;
  const initiator::SessionCounters& counters = view.counters;
  series.put(metric::recovery_commands_timed_out_total, number(counters.commands_timed_out));
  for (std::size_t rung = 0; rung < initiator::kRungCount; ++rung) {
    for (std::size_t outcome = 0; outcome < initiator::kRungOutcomeCount; ++outcome) {
      series.put(metric::recovery_rungs_total, number(counters.rungs[rung][outcome]),
                 to_string(static_cast<Rung>(rung)), to_string(static_cast<RungOutcome>(outcome)));
    }
  }
  durations.put(series, metric::recovery_duration_seconds);
  for (std::size_t rung = 0; rung < initiator::kRungCount; ++rung) {
    const auto each = static_cast<Rung>(rung);
    series.put(metric::recovery_active, view.climb && view.climb->rung == each ? 1 : 0, to_string(each));
  }
}

/// By connection, and by opcode over all of them.
void put_connections(MetricSeries& series, const shard::SessionView& view) {
  using namespace metric;
  std::vector<std::string> cids;
  initiator::ConnectionCounters sum;
  for (const shard::ConnectionView& each : view.connections) {
    cids.push_back(std::to_string(each.cid));
    std::ranges::transform(sum.sent_by_opcode, each.counters.sent_by_opcode, sum.sent_by_opcode.begin(), std::plus());
    std::ranges::transform(sum.received_by_opcode, each.counters.received_by_opcode, sum.received_by_opcode.begin(),
                           std::plus());
  }
  const auto started = [](const shard::ConnectionView& each) {
    return each.state == initiator::ConnectionState::started;
  };
  series.put(iscsi_connections, static_cast<double>(std::ranges::count_if(view.connections, started)));
  series.put(iscsi_connections_wanted, view.connections_wanted);
  for (std::size_t i = 0; i < cids.size(); ++i) {
    series.put(iscsi_connection_up, started(view.connections[i]) ? 1 : 0, cids[i]);
  }
  for (std::size_t i = 0; i < cids.size(); ++i) {
    series.put(iscsi_sent_bytes_total, number(view.connections[i].counters.bytes_sent), cids[i]);
  }
  for (std::size_t i = 0; i < cids.size(); ++i) {
    series.put(iscsi_received_bytes_total, number(view.connections[i].counters.bytes_received), cids[i]);
  }
  put_table(series, iscsi_pdus_sent_total, initiator::kSentPdus, sum.sent_by_opcode);
  put_table(series, iscsi_pdus_received_total, initiator::kReceivedPdus, sum.received_by_opcode);
}

void put_commands(MetricSeries& series, const initiator::SessionCounters& counters) {
  using namespace metric;
  put_table(series, scsi_tasks_total, initiator::kSentCommands, counters.commands_by_opcode);
  put_table(series, scsi_status_total, initiator::kStatuses, counters.statuses);
  for (std::size_t i = 0; i < counters.kSenseKeys; ++i) {
    const auto key = static_cast<proto::scsi::SenseKey>(i);
    series.put(scsi_sense_total, number(counters.sense_keys[i]), to_string(key));
  }
  series.put(scsi_sense_total, number(counters.sense_keys[counters.kSenseKeys]), "unreadable");
  series.put(scsi_task_duration_seconds, counters.command_durations);
}

void put_admin(MetricSeries& series, const AdminFigures& figures) {
  using namespace metric;
  for (const auto& [status, count] : figures.answers) {
    series.put(admin_requests_total, number(count), std::to_string(status));
  }
  for (std::size_t i = 0; i < http::kIntrusions; ++i)
    series.put(admin_refused_total, number(figures.intrusions[i]), to_string(static_cast<http::Intrusion>(i)));
  for (const ChangeCounts& each : figures.changes) {
    series.put(admin_changes_total, number(each.accepted), each.verb, "accepted");
    series.put(admin_changes_total, number(each.refused), each.verb, "refused");
    series.put(admin_changes_total, number(each.dry_run), each.verb, "dry_run");
  }
  series.put(admin_connections, figures.connections);
  series.put(config_reloads_total, number(figures.reloads.succeeded), "success");
  series.put(config_reloads_total, number(figures.reloads.failed), "failure");
  series.put(config_last_reload_successful, figures.reloads.last_succeeded ? 1 : 0);
  series.put(config_last_reload_success_timestamp_seconds,
             static_cast<double>(figures.reloads.loaded_at) / proto::kSecond);
}

void put_process(MetricSeries& series, const ProcessFigures& figures) {
  using namespace metric;
  series.put(process_cpu_seconds_total, figures.cpu_seconds);
  series.put(process_resident_memory_bytes, number(figures.resident_bytes));
  series.put(process_virtual_memory_bytes, number(figures.virtual_bytes));
  series.put(process_open_fds, number(figures.open_fds));
  series.put(process_max_fds, number(figures.max_fds));
  series.put(process_start_time_seconds, figures.started_at);
  series.put(process_threads, number(figures.threads));
}

}  // namespace

void collect(const shard::ExportView& view, MetricSeries& series) {
  using namespace metric;
  using bridge::ExportState;
  using shard::AdminState;
  const bridge::ExportCounters& counters = view.counters;
  const Durations durations = request_durations(counters);
  series.begin(durations.shape());
  series.put(nbd_connections, view.clients);
  series.put(nbd_connections_total, number(view.clients_total));
  put_requests(series, view.nbd);
  series.put(nbd_read_bytes_total, number(view.nbd.bytes_read));
  series.put(nbd_written_bytes_total, number(view.nbd.bytes_written));
  durations.put(series, nbd_request_duration_seconds);
  series.put(nbd_in_flight, view.in_flight);
  series.put(nbd_held, view.held);
  series.put(nbd_oldest_request_seconds, http::seconds(view.oldest_request));
  series.put(nbd_memory_stalls_total, number(view.nbd.stalls));
  series.put(nbd_in_flight_stops_total, number(view.nbd.in_flight_stops));
  series.put(export_up, view.state == ExportState::online ? 1 : 0);
  put_state(series, export_state,
            std::array{ExportState::offline, ExportState::probing, ExportState::online, ExportState::refused},
            view.state);
  put_state(series, export_admin_state, std::array{AdminState::ready, AdminState::drain, AdminState::maint},
            view.admin_state);
  series.put(export_size_bytes, view.known ? number(view.info.size) : 0);
  series.put(export_path_down_seconds, http::seconds(view.down_for));
  series.put(export_fence_waits_total, number(counters.fenced));
  series.put(export_read_modify_writes_total, number(counters.read_modify_writes));
  series.put(export_abandoned_total, number(counters.abandoned));
  series.put(export_unit_attentions_total, number(counters.unit_attentions));
  series.put(export_cache_loss_reports_total, number(counters.cache_loss_reports));
  series.put(export_flush_failures_total, number(counters.flushes_failed_for_lost_cache));
  series.put(export_identity_doubts_total, number(counters.identity_doubts));
  series.put(export_threshold_reports_total, number(counters.threshold_reports));
  series.put(export_same_disk, view.same_disk ? 1 : 0);
  series.put(export_unflushed_writes, number(view.unflushed_writes));
  series.put(export_hold_timeouts_total, number(counters.hold_timeouts));
  put_tasks(series, view);
  series.end();
}

void collect(const shard::SessionView& view, MetricSeries& series) {
  using namespace metric;
  using initiator::SessionState;
  const initiator::SessionCounters& counters = view.counters;
  const Durations durations = rung_durations(counters);
  series.begin(view.connections.size() * Durations::kShapes + durations.shape());
  const bool up = view.state == SessionState::logged_in;
  series.put(iscsi_session_up, up ? 1 : 0);
  series.put(iscsi_session_down_seconds, up ? 0 : http::seconds(view.age));
  put_state(series, iscsi_session_state,
            std::array{SessionState::free, SessionState::logging_in, SessionState::logged_in, SessionState::failed,
                       SessionState::logging_out, SessionState::terminated},
            view.state);
  put_connections(series, view);
  series.put(iscsi_logins_total, number(counters.logins), "success");
  series.put(iscsi_logins_total, number(counters.login_failures), "failure");
  series.put(iscsi_session_losses_total, number(counters.losses));
  series.put(iscsi_window, view.window);
  series.put(iscsi_window_closed_total, number(counters.window_closed));
  series.put(iscsi_digest_errors_total, number(counters.digest_errors));
  series.put(iscsi_rejects_total, number(counters.rejects));
  series.put(iscsi_async_messages_total, number(counters.async_messages));
  series.put(iscsi_pings_total, number(counters.pings));
  series.put(iscsi_ping_timeouts_total, number(counters.ping_timeouts));
  series.put(iscsi_late_answers_total, number(counters.late_answers));
  put_commands(series, counters);
  put_recovery(series, view, durations);
  series.end();
}

void collect(const shard::ShardView& view, MetricSeries& series) {
  series.begin();
  series.put(metric::memory_used_bytes, number(view.memory_used));
  series.put(metric::memory_limit_bytes, number(view.memory_limit));
  series.put(metric::shard_turns_total, number(view.turns));
  series.end();
}

void collect(const MetricsSnapshot& snapshot, MetricSeries& series) {
  using namespace metric;
  const shard::GatewayView& view = snapshot.gateway;
  std::uint64_t handshakes = 0;
  std::array<std::uint64_t, nbd::kCloseReasons> closed{};
  for (const shard::ShardView& shard : view.shards) {
    handshakes += shard.handshakes;
    std::ranges::transform(closed, shard.closed, closed.begin(), std::plus());
  }
  // A status that was never answered before is a new series.
  series.begin(snapshot.admin.answers.size());
  series.put(nbd_handshakes, number(handshakes));
  series.put(nbd_accepted_total, number(view.accepted));
  series.put(nbd_turned_away_total, number(view.over_limit), "connection_limit");
  series.put(nbd_turned_away_total, number(view.out_of_descriptors), "descriptors");
  for (std::size_t i = 0; i < closed.size(); ++i) {
    const auto reason = static_cast<nbd::CloseReason>(i);
    if (reason != nbd::CloseReason::none) series.put(nbd_closed_total, number(closed[i]), name_of(reason));
  }
  series.put(draining, view.draining ? 1 : 0);
  series.put(ready, snapshot.admin.ready ? 1 : 0);
  series.put(build_info, 1, snapshot.admin.version);
  for (std::size_t i = 0; i < LogCounts::kLevels.size(); ++i) {
    series.put(log_messages_total, number(snapshot.log.messages[i]), LogCounts::kLevels[i]);
  }
  series.put(log_dropped_total, number(snapshot.log.dropped));
  put_admin(series, snapshot.admin);
  put_process(series, snapshot.process);
  series.end();
}

}  // namespace nbdgw::admin
