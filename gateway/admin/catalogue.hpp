#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "proto/histogram.hpp"

/// Every metric that /metrics shows: the one place where names, units, labels and buckets are decided. Dashboards,
/// alerts and documentation are held against it by tests.
namespace nbdgw::admin {

enum class MetricKind : std::uint8_t { counter, gauge, histogram };

struct Metric {
  std::string_view name;
  MetricKind kind;
  std::string_view unit;  // seconds, bytes, ratio, or what is counted
  std::string_view help;
  std::array<std::string_view, 3> labels{};  // empty ones are not there
};

/// Upper bounds of all duration histograms, in microseconds.
using proto::kDurationBuckets;

namespace metric {

using enum MetricKind;

// NBD. `export` is the export's name; `session` is the name of the target in the configuration.
inline constexpr Metric nbd_connections{
    "nbdgw_nbd_connections", gauge, "connections", "NBD clients attached to the export.", {"export"}};
inline constexpr Metric nbd_connections_total{"nbdgw_nbd_connections_total",
                                              counter,
                                              "connections",
                                              "NBD clients that have attached to the export.",
                                              {"export"}};
inline constexpr Metric nbd_handshakes{
    "nbdgw_nbd_handshakes", gauge, "connections", "NBD clients that are still in the handshake.", {}};
inline constexpr Metric nbd_accepted_total{
    "nbdgw_nbd_accepted_total", counter, "connections", "NBD clients accepted on all listeners.", {}};
inline constexpr Metric nbd_turned_away_total{
    "nbdgw_nbd_turned_away_total",
    counter,
    "connections",
    "NBD clients closed at once (connection_limit) and pauses of a listener (descriptors).",
    {"reason"}};
inline constexpr Metric nbd_closed_total{
    "nbdgw_nbd_closed_total", counter, "connections", "NBD connections that have ended, by why.", {"reason"}};
inline constexpr Metric nbd_requests_total{
    "nbdgw_nbd_requests_total", counter, "requests", "NBD requests taken.", {"export", "command"}};
inline constexpr Metric nbd_errors_total{"nbdgw_nbd_errors_total",
                                         counter,
                                         "replies",
                                         "NBD error replies, by the protocol's name of the error.",
                                         {"export", "error"}};
inline constexpr Metric nbd_read_bytes_total{
    "nbdgw_nbd_read_bytes_total", counter, "bytes", "Payload of READ sent to clients.", {"export"}};
inline constexpr Metric nbd_written_bytes_total{
    "nbdgw_nbd_written_bytes_total", counter, "bytes", "Payload of WRITE taken from clients.", {"export"}};
inline constexpr Metric nbd_request_duration_seconds{
    "nbdgw_nbd_request_duration_seconds",
    histogram,
    "seconds",
    "From the header of an NBD request to its reply being ready, held time included; from the first such request on.",
    {"export", "command"}};
inline constexpr Metric nbd_in_flight{
    "nbdgw_nbd_in_flight", gauge, "requests", "NBD requests taken and not answered.", {"export"}};
inline constexpr Metric nbd_held{
    "nbdgw_nbd_held", gauge, "requests", "NBD requests that wait for the path to the LUN.", {"export"}};
inline constexpr Metric nbd_oldest_request_seconds{
    "nbdgw_nbd_oldest_request_seconds", gauge, "seconds", "Age of the oldest NBD request in flight.", {"export"}};
inline constexpr Metric nbd_memory_stalls_total{"nbdgw_nbd_memory_stalls_total",
                                                counter,
                                                "stalls",
                                                "Times that a client had to wait for payload memory.",
                                                {"export"}};
inline constexpr Metric nbd_in_flight_stops_total{
    "nbdgw_nbd_in_flight_stops_total",
    counter,
    "stops",
    "Times that reading a client stopped at limits.in_flight_per_connection.",
    {"export"}};

// Exports.
inline constexpr Metric export_up{"nbdgw_export_up", gauge, "bool", "1 if the export is online.", {"export"}};
inline constexpr Metric export_state{"nbdgw_export_state",
                                     gauge,
                                     "bool",
                                     "1 for the state the export is in: offline, probing, online, refused.",
                                     {"export", "state"}};
inline constexpr Metric export_admin_state{"nbdgw_export_admin_state",
                                           gauge,
                                           "bool",
                                           "1 for what operators want of it: ready, drain, maint.",
                                           {"export", "state"}};
inline constexpr Metric export_size_bytes{
    "nbdgw_export_size_bytes", gauge, "bytes", "Size as clients see it; 0 while it is not known.", {"export"}};
inline constexpr Metric export_path_down_seconds{"nbdgw_export_path_down_seconds",
                                                 gauge,
                                                 "seconds",
                                                 "How long there has been no path to the LUN, from the start for one "
                                                 "that never had any; 0 while there is one.",
                                                 {"export"}};
inline constexpr Metric export_fence_waits_total{"nbdgw_export_fence_waits_total",
                                                 counter,
                                                 "requests",
                                                 "Writes that had to wait for one that they overlap.",
                                                 {"export"}};
inline constexpr Metric export_read_modify_writes_total{"nbdgw_export_read_modify_writes_total",
                                                        counter,
                                                        "blocks",
                                                        "Blocks read because a request covered them only in part.",
                                                        {"export"}};
inline constexpr Metric export_abandoned_total{"nbdgw_export_abandoned_total",
                                               counter,
                                               "requests",
                                               "Requests whose client went away before they were answered.",
                                               {"export"}};
inline constexpr Metric export_unit_attentions_total{
    "nbdgw_export_unit_attentions_total", counter, "attentions", "Unit attentions absorbed.", {"export"}};
inline constexpr Metric export_cache_loss_reports_total{"nbdgw_export_cache_loss_reports_total",
                                                        counter,
                                                        "reports",
                                                        "Signs that the LUN's volatile cache may be gone.",
                                                        {"export"}};
inline constexpr Metric export_flush_failures_total{
    "nbdgw_export_flush_failures_total",
    counter,
    "requests",
    "FLUSH and FUA requests failed because acknowledged writes may be lost.",
    {"export"}};
inline constexpr Metric export_identity_doubts_total{
    "nbdgw_export_identity_doubts_total",
    counter,
    "events",
    "Times that another disk, or none, may have come in the LUN's place; it was held and probed.",
    {"export"}};
inline constexpr Metric export_threshold_reports_total{"nbdgw_export_threshold_reports_total",
                                                       counter,
                                                       "reports",
                                                       "Reports that the thin pool behind the LUN runs low.",
                                                       {"export"}};
inline constexpr Metric export_same_disk{
    "nbdgw_export_same_disk",
    gauge,
    "bool",
    "1 if other exports may serve the same disk, and nothing keeps their writes apart from this one's.",
    {"export"}};
inline constexpr Metric export_unflushed_writes{"nbdgw_export_unflushed_writes",
                                                gauge,
                                                "requests",
                                                "Acknowledged writes that are only in the LUN's volatile cache.",
                                                {"export"}};
inline constexpr Metric export_hold_timeouts_total{
    "nbdgw_export_hold_timeouts_total",
    counter,
    "timeouts",
    "Times that requests were failed because the path was away for timeouts.replacement.",
    {"export"}};

// iSCSI.
inline constexpr Metric iscsi_session_up{
    "nbdgw_iscsi_session_up", gauge, "bool", "1 if the session is logged in.", {"session"}};
inline constexpr Metric iscsi_session_down_seconds{"nbdgw_iscsi_session_down_seconds",
                                                   gauge,
                                                   "seconds",
                                                   "How long the session has not been logged in, whatever it tries, "
                                                   "from the start for one that never was; 0 if it is.",
                                                   {"session"}};
inline constexpr Metric iscsi_session_state{
    "nbdgw_iscsi_session_state", gauge, "bool", "1 for the state the session is in.", {"session", "state"}};
inline constexpr Metric iscsi_connections{"nbdgw_iscsi_connections",
                                          gauge,
                                          "connections",
                                          "Connections of the session in full feature phase.",
                                          {"session"}};
inline constexpr Metric iscsi_connections_wanted{
    "nbdgw_iscsi_connections_wanted", gauge, "connections", "Connections configured for the session.", {"session"}};
inline constexpr Metric iscsi_connection_up{
    "nbdgw_iscsi_connection_up", gauge, "bool", "1 if the connection is in full feature phase.", {"session", "cid"}};
inline constexpr Metric iscsi_logins_total{
    "nbdgw_iscsi_logins_total",
    counter,
    "logins",
    "Logins of the session's leading connection, by outcome: success, failure.",
    {"session", "outcome"}};
inline constexpr Metric iscsi_session_losses_total{
    "nbdgw_iscsi_session_losses_total", counter, "losses", "Times that the session was lost.", {"session"}};
inline constexpr Metric iscsi_pdus_sent_total{
    "nbdgw_iscsi_pdus_sent_total", counter, "PDUs", "PDUs sent, by opcode.", {"session", "opcode"}};
inline constexpr Metric iscsi_pdus_received_total{
    "nbdgw_iscsi_pdus_received_total", counter, "PDUs", "PDUs received, by opcode.", {"session", "opcode"}};
inline constexpr Metric iscsi_sent_bytes_total{"nbdgw_iscsi_sent_bytes_total",
                                               counter,
                                               "bytes",
                                               "Bytes sent on a connection, headers included.",
                                               {"session", "cid"}};
inline constexpr Metric iscsi_received_bytes_total{"nbdgw_iscsi_received_bytes_total",
                                                   counter,
                                                   "bytes",
                                                   "Bytes received on a connection, headers included.",
                                                   {"session", "cid"}};
inline constexpr Metric iscsi_window{
    "nbdgw_iscsi_window", gauge, "commands", "Commands that the target would take now (MaxCmdSN).", {"session"}};
inline constexpr Metric iscsi_window_closed_total{"nbdgw_iscsi_window_closed_total",
                                                  counter,
                                                  "stops",
                                                  "Times that sending stopped at a closed command window.",
                                                  {"session"}};
inline constexpr Metric iscsi_digest_errors_total{
    "nbdgw_iscsi_digest_errors_total", counter, "errors", "Header and data digests that did not match.", {"session"}};
inline constexpr Metric iscsi_rejects_total{
    "nbdgw_iscsi_rejects_total", counter, "PDUs", "Reject PDUs received.", {"session"}};
inline constexpr Metric iscsi_async_messages_total{
    "nbdgw_iscsi_async_messages_total", counter, "PDUs", "Asynchronous messages received.", {"session"}};
inline constexpr Metric iscsi_pings_total{
    "nbdgw_iscsi_pings_total", counter, "pings", "NOP-Out sent to see whether a connection lives.", {"session"}};
inline constexpr Metric iscsi_ping_timeouts_total{
    "nbdgw_iscsi_ping_timeouts_total",
    counter,
    "pings",
    "Pings that were not answered in time, each of which cost the session.",
    {"session"}};
inline constexpr Metric iscsi_late_answers_total{
    "nbdgw_iscsi_late_answers_total", counter, "answers", "Answers to what had been given up; ignored.", {"session"}};

// SCSI.
inline constexpr Metric scsi_tasks_total{"nbdgw_scsi_tasks_total",
                                         counter,
                                         "tasks",
                                         "SCSI commands sent, retries included, by opcode.",
                                         {"session", "opcode"}};
inline constexpr Metric scsi_status_total{
    "nbdgw_scsi_status_total", counter, "tasks", "SCSI status received, by name.", {"session", "status"}};
inline constexpr Metric scsi_sense_total{
    "nbdgw_scsi_sense_total", counter, "tasks", "CHECK CONDITION received, by sense key.", {"session", "sense_key"}};
inline constexpr Metric scsi_task_duration_seconds{"nbdgw_scsi_task_duration_seconds",
                                                   histogram,
                                                   "seconds",
                                                   "From a SCSI command being given to a connection to its end.",
                                                   {"session"}};
inline constexpr Metric scsi_tasks_in_flight{
    "nbdgw_scsi_tasks_in_flight", gauge, "tasks", "SCSI tasks of the export with the target.", {"export"}};
inline constexpr Metric scsi_tasks_held{
    "nbdgw_scsi_tasks_held",
    gauge,
    "tasks",
    "Of those with the target, held after a loss of the session until there is a proof.",
    {"export"}};
inline constexpr Metric scsi_tasks_queued{"nbdgw_scsi_tasks_queued",
                                          gauge,
                                          "tasks",
                                          "SCSI tasks that wait for the path, for queue depth or for their retry.",
                                          {"export"}};
inline constexpr Metric scsi_queue_depth{"nbdgw_scsi_queue_depth",
                                         gauge,
                                         "tasks",
                                         "SCSI tasks allowed at the LUN now; TASK SET FULL lowers it.",
                                         {"export"}};
inline constexpr Metric scsi_retries_total{"nbdgw_scsi_retries_total",
                                           counter,
                                           "tasks",
                                           "SCSI commands sent again: at_once, delayed, session_lost.",
                                           {"export", "reason"}};
inline constexpr Metric scsi_queue_full_total{
    "nbdgw_scsi_queue_full_total", counter, "tasks", "BUSY and TASK SET FULL received.", {"export"}};

// Recovery.
inline constexpr Metric recovery_commands_timed_out_total{
    "nbdgw_recovery_commands_timed_out_total",
    counter,
    "tasks",
    "Commands that were not answered in time and became a matter for the ladder.",
    {"session"}};
inline constexpr Metric recovery_rungs_total{"nbdgw_recovery_rungs_total",
                                             counter,
                                             "rungs",
                                             "Rungs of the escalation ladder climbed, by outcome.",
                                             {"session", "rung", "outcome"}};
inline constexpr Metric recovery_duration_seconds{"nbdgw_recovery_duration_seconds",
                                                  histogram,
                                                  "seconds",
                                                  "How long a rung took; from the first time on.",
                                                  {"session", "rung"}};
inline constexpr Metric recovery_active{
    "nbdgw_recovery_active", gauge, "bool", "1 while the rung is being climbed.", {"session", "rung"}};

// The process.
inline constexpr Metric memory_used_bytes{
    "nbdgw_memory_used_bytes", gauge, "bytes", "Payload memory in use.", {"shard"}};
inline constexpr Metric memory_limit_bytes{"nbdgw_memory_limit_bytes",
                                           gauge,
                                           "bytes",
                                           "Payload memory of the shard (its part of limits.memory).",
                                           {"shard"}};
inline constexpr Metric shard_turns_total{
    "nbdgw_shard_turns_total", counter, "turns", "Turns of the shard's loop.", {"shard"}};
inline constexpr Metric draining{
    "nbdgw_draining", gauge, "bool", "1 while the gateway takes no new clients because an operator said so.", {}};
inline constexpr Metric ready{"nbdgw_ready", gauge, "bool", "1 if /readyz says so.", {}};
inline constexpr Metric build_info{
    "nbdgw_build_info", gauge, "bool", "1; the labels tell what is running.", {"version"}};
inline constexpr Metric log_messages_total{
    "nbdgw_log_messages_total",
    counter,
    "messages",
    "Log messages, by level; those below the level in force are not counted, those that were dropped are.",
    {"level"}};
inline constexpr Metric log_dropped_total{
    "nbdgw_log_dropped_total",
    counter,
    "messages",
    "Log messages that were dropped, as what reads the log did not take them in time.",
    {}};
inline constexpr Metric admin_requests_total{
    "nbdgw_admin_requests_total", counter, "requests", "HTTP requests answered, by status.", {"code"}};
inline constexpr Metric admin_refused_total{
    "nbdgw_admin_refused_total",
    counter,
    "requests",
    "Who was not let in to the admin server: no_token, wrong_token, bad_host, tls.",
    {"reason"}};
inline constexpr Metric admin_changes_total{
    "nbdgw_admin_changes_total",
    counter,
    "changes",
    "Changes asked for over the admin API, by verb and outcome: accepted, refused, dry_run.",
    {"verb", "outcome"}};
inline constexpr Metric admin_connections{
    "nbdgw_admin_connections", gauge, "connections", "HTTP clients connected.", {}};
inline constexpr Metric config_reloads_total{"nbdgw_config_reloads_total",
                                             counter,
                                             "reloads",
                                             "Reloads of the configuration, by outcome: success, failure.",
                                             {"outcome"}};
inline constexpr Metric config_last_reload_successful{
    "nbdgw_config_last_reload_successful",
    gauge,
    "bool",
    "1 if the last reload of the configuration went well, or there was none; 0 if it was refused.",
    {}};
inline constexpr Metric config_last_reload_success_timestamp_seconds{
    "nbdgw_config_last_reload_success_timestamp_seconds",
    gauge,
    "seconds",
    "When the configuration in force was loaded, since the epoch.",
    {}};
inline constexpr Metric process_cpu_seconds_total{
    "process_cpu_seconds_total", counter, "seconds", "CPU time of the process, user and system.", {}};
inline constexpr Metric process_resident_memory_bytes{
    "process_resident_memory_bytes", gauge, "bytes", "Resident memory of the process.", {}};
inline constexpr Metric process_virtual_memory_bytes{
    "process_virtual_memory_bytes", gauge, "bytes", "Virtual memory of the process.", {}};
inline constexpr Metric process_open_fds{"process_open_fds", gauge, "descriptors", "Open file descriptors.", {}};
inline constexpr Metric process_max_fds{
    "process_max_fds", gauge, "descriptors", "File descriptors that the system allows.", {}};
inline constexpr Metric process_start_time_seconds{
    "process_start_time_seconds", gauge, "seconds", "When the process started, since the epoch.", {}};
inline constexpr Metric process_threads{"process_threads", gauge, "threads", "Threads of the process.", {}};

}  // namespace metric

/// All of them, in the order in which /metrics shows them.
std::span<const Metric* const> catalogue() noexcept;

}  // namespace nbdgw::admin
