#include "gateway/app/ctl_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <string_view>

#include "gateway/app/ctl_members.hpp"

namespace nbdgw::app {

namespace json = boost::json;

namespace {

using members::at;
using members::number;
using members::plain;
using members::printable;
using members::seconds;
using members::text;

/// What a terminal shows as one character each; good enough for names.
std::size_t width(const std::string& text) noexcept {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string bytes(const json::value& value, std::string_view path) {
  const json::value& member = at(value, path);
  return member.is_number() ? human_bytes(number(member)) : "-";
}

/// Of a wrapped list, {"exports": [...]}.
const json::array& list_of(const json::value& value, std::string_view name) {
  static const json::array kNone;
  const json::array* list = at(value, name).if_array();
  return list != nullptr ? *list : kNone;
}

std::string joined(const json::value& value, std::string_view path, std::string_view separator = ", ") {
  std::vector<std::string> parts;
  for (const json::value& each : list_of(value, path)) parts.push_back(plain(each));
  return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, separator));
}

std::string mean(const json::value& value, std::string_view path) {
  const double count = number(at(value, std::string(path) + ".count"));
  return count > 0 ? human_seconds(number(at(value, std::string(path) + ".sum_seconds")) / count) : "-";
}

std::string line(std::string_view name, const std::string& value) {
  return fmt::format("{:<16}{}\n", name, value);
}

std::string started_connections(const json::value& session) {
  const json::array& all = list_of(session, "connections");
  const auto started =
      std::count_if(all.begin(), all.end(), [](const json::value& each) { return text(each, "state") == "started"; });
  return fmt::format("{}/{}", started, text(session, "connections_wanted"));
}

/// Since when it is not there; "-": it is.
std::string down(const json::value& thing) {
  return number(at(thing, "down_seconds")) > 0 ? seconds(thing, "down_seconds") : "-";
}

/// What people mean by the state of a session, which may be one of several.
const char* up_or_down(const json::value& session) {
  return text(session, "state") == "logged in" ? "up" : "down";
}

std::string climb(const json::value& session) {
  if (at(session, "climb").is_null()) return "-";
  return fmt::format("{} for {}: {}", text(session, at(session, "climb.now").is_null() ? "climb.rung" : "climb.now"),
                     seconds(session, "climb.age_seconds"), text(session, "climb.cause"));
}

}  // namespace

Table::Table(std::vector<std::string> headings) {
  for (std::string& heading : headings) {
    right_.push_back(heading.starts_with('>'));
    if (right_.back()) heading.erase(0, 1);
  }
  rows_.push_back(std::move(headings));
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(right_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths(right_.size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string one;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - width(row[i]), ' ');
      one += (i > 0 ? "  " : "") + (right_[i] ? space + row[i] : row[i] + space);
    }
    one.erase(one.find_last_not_of(' ') + 1);
    out += one + '\n';
  }
  return out;
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_seconds(double seconds) {
  if (seconds <= 0) return "0 s";
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  if (seconds < 2 * 3600) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{:.0f} h", seconds / 3600);
  return fmt::format("{:.0f} d", seconds / 86400);
}

std::string status_text(const json::value& status) {
  const bool ready = at(status, "ready") == json::value(true);
  const bool draining = at(status, "draining") == json::value(true);
  std::string out;
  out += line("nbdgw", fmt::format("{}, up for {}", text(status, "version"), seconds(status, "uptime_seconds")));
  out += line("ready", std::string(ready ? "yes" : "NO") + (draining ? ", DRAINING: no new clients" : ""));
  out +=
      line("exports", fmt::format("{} of {} online", text(status, "exports.online"), text(status, "exports.total")));
  out += line("sessions",
              fmt::format("{} of {} logged in", text(status, "sessions.logged_in"), text(status, "sessions.total")));
  out += line("climbing", joined(status, "climbing"));
  out += line("clients", fmt::format("{} of {}", text(status, "clients"), text(status, "clients_max")));
  out += line("memory", fmt::format("{} of {} for payload", bytes(status, "memory.used_bytes"),
                                    bytes(status, "memory.limit_bytes")));
  out += line("NBD", joined(status, "addresses.nbd"));
  out += line("admin", joined(status, "addresses.admin"));
  out += line("log level", text(status, "log.level"));
  return out;
}

std::string exports_text(const json::value& list) {
  Table table({"EXPORT", "TARGET", ">LUN", "STATE", ">DOWN FOR", "ADMIN", ">SIZE", ">CLIENTS", ">IN FLIGHT", ">HELD",
               ">OLDEST", ">READ", ">WRITTEN", ">ERRORS"});
  for (const json::value& each : list_of(list, "exports")) {
    table.add({text(each, "name"), text(each, "target"), text(each, "lun"), text(each, "state"), down(each),
               text(each, "admin_state"), bytes(each, "size_bytes"), text(each, "clients"), text(each, "in_flight"),
               text(each, "held"), seconds(each, "oldest_request_seconds"), bytes(each, "counters.bytes_read"),
               bytes(each, "counters.bytes_written"), text(each, "counters.errors")});
  }
  return table.text();
}

std::string export_text(const json::value& each) {
  std::string out;
  out += line("export", text(each, "name"));
  out += line("description", text(each, "description"));
  out += line("disk", fmt::format("target {}, LUN {}, {}, blocks of {}", text(each, "target"), text(each, "lun"),
                                  bytes(each, "size_bytes"), bytes(each, "block_size")));
  out += line("unit",
              fmt::format("{} {} {}, serial {}, {}", text(each, "unit.vendor"), text(each, "unit.product"),
                          text(each, "unit.revision"), text(each, "unit.serial"), text(each, "unit.identifier")));
  out += line("state", fmt::format("{} ({}), reason {}", text(each, "state"), text(each, "admin_state"),
                                   text(each, "reason")));
  out += line("down for", down(each));
  out += line("read-only", text(each, "read_only"));
  out += line("clients", text(each, "clients"));
  out += line("requests", fmt::format("{} in flight, the oldest for {}; {} held for {}", text(each, "in_flight"),
                                      seconds(each, "oldest_request_seconds"), text(each, "held"),
                                      seconds(each, "held_for_seconds")));
  out += line("queue", fmt::format("{} with the target, {} of them held, depth {}; {} wait, {} wait for their retry",
                                   text(each, "queue.in_flight"), text(each, "queue.held"), text(each, "queue.depth"),
                                   text(each, "queue.queued"), text(each, "queue.delayed")));
  out += line("cache", fmt::format("{} writes not flushed, {} in doubt", text(each, "cache.unflushed_writes"),
                                   text(each, "cache.doubtful_writes")));
  Table table({"COMMAND", ">COUNT", ">MEAN TIME"});
  for (const char* name : {"read", "write", "flush", "trim", "write_zeroes"}) {
    const std::string path = std::string("latency.") + name;
    table.add({name, text(each, path + ".count"), mean(each, path)});
  }
  out += '\n' + table.text() + '\n';
  Table counters({"COUNTER", ">"});
  if (const json::object* all = at(each, "counters").if_object()) {
    for (const auto& [name, value] : *all) counters.add({printable({name.data(), name.size()}), plain(value)});
  }
  return out + counters.text();
}

std::string clients_text(const json::value& list) {
  Table table({">ID", "PEER", "EXPORT", ">AGE", "PHASE", "TLS", "REPLIES", ">IN FLIGHT", ">REQUESTS", ">ERRORS",
               ">READ", ">WRITTEN"});
  for (const json::value& each : list_of(list, "clients")) {
    table.add({text(each, "id"), text(each, "peer"), text(each, "export"), seconds(each, "age_seconds"),
               text(each, "phase"), text(each, "tls"), text(each, "replies"), text(each, "in_flight"),
               text(each, "counters.requests"), text(each, "counters.errors"), bytes(each, "counters.bytes_read"),
               bytes(each, "counters.bytes_written")});
  }
  return table.text();
}

std::string sessions_text(const json::value& list) {
  Table table(
      {"TARGET", "STATE", "IS", ">FOR", ">CONNECTIONS", ">TASKS", ">WINDOW", ">LOSSES", "CLIMBS NOW", "TROUBLE"});
  for (const json::value& each : list_of(list, "sessions")) {
    table.add({text(each, "target"), text(each, "state"), up_or_down(each), seconds(each, "age_seconds"),
               started_connections(each), text(each, "tasks"), text(each, "window.open"),
               text(each, "counters.losses"), climb(each), text(each, "trouble")});
  }
  return table.text();
}

std::string session_text(const json::value& each) {
  std::string out;
  out += line("target", fmt::format("{} ({})", text(each, "target"), text(each, "iqn")));
  out += line("state", fmt::format("{}, {} for {}, trouble {}", text(each, "state"), up_or_down(each),
                                   seconds(each, "age_seconds"), text(each, "trouble")));
  out += line("identity", fmt::format("ISID {}, TSIH {}", text(each, "isid"), text(each, "tsih")));
  out += line("portal", fmt::format("{}, portal group {}: {}", text(each, "portal"), text(each, "portal_group"),
                                    text(each, "portal_reason")));
  out += line("window", fmt::format("{} open (CmdSN {}, ExpCmdSN {}, MaxCmdSN {})", text(each, "window.open"),
                                    text(each, "window.cmd_sn"), text(each, "window.exp_cmd_sn"),
                                    text(each, "window.max_cmd_sn")));
  out += line("tasks", fmt::format("{} of {}", text(each, "tasks"), text(each, "tasks_max")));
  out += line("climbs now", climb(each));
  Table table({">CID", "STATE", "PORTAL", ">FOR", ">SILENT", ">TASKS", ">OUTSTANDING", "HEADER DIGEST", "DATA DIGEST",
               ">SENT", ">RECEIVED"});
  for (const json::value& one : list_of(each, "connections")) {
    table.add({text(one, "cid"), text(one, "state"), text(one, "portal"), seconds(one, "age_seconds"),
               seconds(one, "silent_seconds"), text(one, "tasks"), bytes(one, "outstanding_bytes"),
               text(one, "header_digest"), text(one, "data_digest"), bytes(one, "counters.bytes_sent"),
               bytes(one, "counters.bytes_received")});
  }
  out += '\n' + table.text() + '\n';
  Table counters({"COUNTER", ">"});
  if (const json::object* all = at(each, "counters").if_object()) {
    for (const auto& [name, value] : *all) counters.add({printable({name.data(), name.size()}), plain(value)});
  }
  return out + counters.text();
}

std::string tasks_text(const json::value& list) {
  Table table(
      {">ITT", "COMMAND", ">LUN", ">LBA", ">LENGTH", ">CID", ">CMDSN", "STATE", ">AGE", ">IDLE", ">DEADLINE IN"});
  for (const json::value& each : list_of(list, "tasks")) {
    const bool overdue = at(each, "overdue") == json::value(true);
    table.add({text(each, "itt"), text(each, "opcode"), text(each, "lun"), text(each, "lba"),
               bytes(each, "length_bytes"), text(each, "cid"), text(each, "cmd_sn"),
               text(each, "state") + (overdue ? ", OVERDUE" : ""), seconds(each, "age_seconds"),
               seconds(each, "idle_seconds"), overdue ? "-" : seconds(each, "deadline_seconds")});
  }
  return table.text();
}

std::string operations_text(const json::value& list) {
  Table table({">ID", "STARTED", "VERB", "OBJECT", "STATE", "OUTCOME", "DETAIL"});
  for (const json::value& each : list_of(list, "operations")) {
    table.add({text(each, "id"), text(each, "started_at"), text(each, "verb"), text(each, "object"),
               text(each, "state"), text(each, "outcome"), text(each, "detail")});
  }
  return table.text();
}

std::string operation_text(const json::value& operation) {
  return fmt::format("operation {}: {} {}: {} ({}): {}", text(operation, "id"), text(operation, "verb"),
                     text(operation, "object"), text(operation, "state"), text(operation, "outcome"),
                     text(operation, "detail"));
}

std::string reload_text(const json::value& report) {
  const bool dry_run = at(report, "dry_run") == json::value(true);
  std::string out;
  for (const json::value& each : list_of(report, "changes")) {
    out += fmt::format("{}{} {}: {}\n", dry_run ? "would be " : "", text(each, "kind"), text(each, "object"),
                       text(each, "detail"));
  }
  for (const json::value& each : list_of(report, "needs_restart")) out += "needs a restart: " + plain(each) + '\n';
  return out.empty() ? "nothing has changed\n" : out;
}

std::string log_text(const json::value& log) {
  std::string out = "log level " + text(log, "level");
  if (!at(log, "expires_at").is_null())
    out += fmt::format(" until {}, then {}", text(log, "expires_at"), text(log, "configured_level"));
  return out + '\n';
}

std::string problem_text(const json::value& problem, unsigned status) {
  std::string out = fmt::format("{}: {}", status, text(problem, "detail"));
  if (const json::value& code = at(problem, "code"); !code.is_null()) out += fmt::format(" ({})", plain(code));
  if (const json::value& field = at(problem, "field"); !field.is_null()) out += ", about " + plain(field);
  for (const json::value& each : list_of(problem, "errors")) {
    out += fmt::format("\n{}:{}:{}: {}: {}", text(each, "file"), text(each, "line"), text(each, "column"),
                       text(each, "key"), text(each, "text"));
  }
  return out;
}

}  // namespace nbdgw::app
