// The changes of the API, one by one.
#include <algorithm>
#include <boost/json.hpp>

#include "config/names.hpp"
#include "config/units.hpp"
#include "gateway/admin/api.hpp"
#include "gateway/admin/api_json.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/net/clock.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::admin {

namespace json = boost::json;
using initiator::Rung;

namespace {

constexpr proto::Micros kLongestLevel = 24 * 3600 * proto::kSecond;
/// For the rungs that were asked for before, and for what the ladder is about to do by itself.
constexpr proto::Micros kTurn = 60 * proto::kSecond;
/// Until a session that was dropped is expected to be back. If it is not, the target is away, and no operation.
constexpr proto::Micros kRelogin = 60 * proto::kSecond;
/// Beyond the time after which a client that is sent away is cut off.
constexpr proto::Micros kClientGrace = 5 * proto::kSecond;

/// Longer than a probe waits for a LUN that is "becoming ready" (device::kMaxWaits), and a login before it.
constexpr proto::Micros kRescan = 180 * proto::kSecond;

constexpr std::optional<http::Refusal> kFine = std::nullopt;

http::Refusal too_many_operations() {
  return {409, "busy", "there are " + std::to_string(Operations::kMax) + " operations under way; try again later"};
}

/// "10m", "90s": whole seconds, minutes or hours. Nothing: it is none, or out of bounds.
std::optional<proto::Micros> parse_length(std::string text) {
  if (text.ends_with("us") || text.ends_with("ms")) return std::nullopt;
  if (text.ends_with('m')) text += "in";  // the configuration knows "min" only
  const auto length = config::parse_duration(text);
  return length && *length >= proto::kSecond && *length <= kLongestLevel ? length : std::nullopt;
}

Rung rung_of(Verb verb, bool cold) noexcept {
  switch (verb) {
    case Verb::abort_task:
      return Rung::abort_task;
    case Verb::abort_task_set:
      return Rung::abort_task_set;
    case Verb::clear_task_set:
      return Rung::clear_task_set;
    case Verb::reset_lun:
      return Rung::lu_reset;
    case Verb::reset_target:
      return cold ? Rung::target_cold_reset : Rung::target_warm_reset;
    default:
      return Rung::session_reset;
  }
}

}  // namespace

void Api::add_change_routes(http::Router& router) {
  const auto add = [this, &router](const char* pattern, Handler handler) {
    router.add("POST", pattern, [this, handler](const http::Request& request, http::Reply reply) {
      (this->*handler)(request, std::move(reply));
    });
  };
  router.add("POST", "/v1/drain",
             [this](const http::Request& request, http::Reply reply) { drain(true, request, std::move(reply)); });
  router.add("POST", "/v1/undrain",
             [this](const http::Request& request, http::Reply reply) { drain(false, request, std::move(reply)); });
  add("/v1/exports/{name}/state", &Api::set_export_state);
  add("/v1/exports/{name}/rescan", &Api::rescan_export);
  add("/v1/clients/{id}/disconnect", &Api::disconnect_client);
  add("/v1/sessions/{target}/connections/{cid}/drop", &Api::drop_connection);
  add("/v1/log", &Api::set_log);
  add("/v1/config/reload", &Api::reload);
}

void Api::add_recovery_routes(http::Router& router) {
  const auto add = [this, &router](const char* name, Verb verb) {
    router.add(
        "POST", std::string("/v1/sessions/{target}/") + name,
        [this, verb](const http::Request& request, http::Reply reply) { recover(verb, request, std::move(reply)); });
  };
  add("abort-task", Verb::abort_task);
  add("abort-task-set", Verb::abort_task_set);
  add("clear-task-set", Verb::clear_task_set);
  add("reset-lun", Verb::reset_lun);
  add("reset-target", Verb::reset_target);
  add("reset", Verb::reset_session);
}

void Api::drain(bool on, const http::Request& request, http::Reply reply) {
  http::Fields fields(request, {"dry_run"});
  const Change what{on ? Verb::drain : Verb::undrain, "gateway", fields.flag("dry_run", false), request.peer};
  if (refused(what, fields.refusal(), reply)) return;
  change(
      what, std::move(reply),
      [&](control::OnVerdict done) { gateway_.drain_clients(on, what.dry_run, std::move(done)); },
      [on](const Change&, const control::Verdict&, http::Reply answer) {
        answer.send(http::json_response(200, json::object{{"draining", on}}));
      });
}

void Api::set_export_state(const http::Request& request, http::Reply reply) {
  const std::string& name = request.parameters[0];
  http::Fields fields(request, {"state", "dry_run"});
  fields.require("state");
  // In the order of net::AdminState.
  const auto state = static_cast<shard::AdminState>(fields.choice("state", {"ready", "drain", "maint"}).value_or(0));
  const Change what{Verb::set_export_state, "export " + name, fields.flag("dry_run", false), request.peer};
  if (refused(what, fields.refusal(), reply)) return;
  change(
      what, std::move(reply),
      [&](control::OnVerdict done) { gateway_.set_export_state(name, state, what.dry_run, std::move(done)); },
      [this, name](const Change&, const control::Verdict&, http::Reply answer) {
        auto shared = std::make_shared<http::Reply>(std::move(answer));
        with_view(false, [name, shared](const shard::GatewayView& view) {
          const shard::ExportView* found = find_export(view, name);
          shared->send(found != nullptr
                           ? http::json_response(200, to_json(*found))
                           : http::problem(404, "not_found", "the export " + name + " has been removed"));
        });
      });
}

void Api::rescan_export(const http::Request& request, http::Reply reply) {
  const std::string& name = request.parameters[0];
  http::Fields fields(request, {"dry_run"});
  const Change what{Verb::rescan_export, "export " + name, fields.flag("dry_run", false), request.peer};
  if (refused(what, fields.refusal(), reply)) return;
  if (refused(what, operations_.full() ? too_many_operations() : kFine, reply)) return;
  change(
      what, std::move(reply), [&](control::OnVerdict done) { gateway_.rescan(name, what.dry_run, std::move(done)); },
      begin_operation({.request = 0, .target = {}, .client = 0, .within = kRescan}));
}

void Api::disconnect_client(const http::Request& request, http::Reply reply) {
  http::Fields fields(request, {"dry_run"});
  const Change what{Verb::disconnect_client, "client " + request.parameters[0], fields.flag("dry_run", false),
                    request.peer};
  const auto id = http::path_number(request.parameters[0]);
  if (refused(what, fields.refusal(), reply)) return;
  if (refused(what, id ? kFine : http::Refusal{400, "bad_parameter", "id: a client is known by a number", "id"},
              reply))
    return;
  if (refused(what, operations_.full() ? too_many_operations() : kFine, reply)) return;
  change(
      what, std::move(reply),
      [&](control::OnVerdict done) { gateway_.disconnect_client(*id, what.dry_run, std::move(done)); },
      begin_operation(
          {.request = 0, .target = {}, .client = *id, .within = shard::Shard::kSendAwayLimit + kClientGrace}));
}

void Api::drop_connection(const http::Request& request, http::Reply reply) {
  const std::string& target = request.parameters[0];
  http::Fields fields(request, {"dry_run"});
  const Change what{Verb::drop_connection, "target " + target + " connection " + request.parameters[1],
                    fields.flag("dry_run", false), request.peer};
  const auto cid = http::path_number(request.parameters[1], 0xffff);
  if (refused(what, fields.refusal(), reply)) return;
  if (refused(what,
              cid ? kFine
                  : http::Refusal{400, "bad_parameter", "cid: a connection is known by a number below 65536", "cid"},
              reply))
    return;
  if (refused(what, operations_.full() ? too_many_operations() : kFine, reply)) return;
  change(
      what, std::move(reply),
      [&](control::OnVerdict done) {
        gateway_.drop_connection(target, static_cast<std::uint16_t>(*cid), what.dry_run, std::move(done));
      },
      begin_operation({.request = 0, .target = target, .client = 0, .within = kRelogin}));
}

void Api::recover(Verb verb, const http::Request& request, http::Reply reply) {
  const std::string& target = request.parameters[0];
  const bool of_lun = verb == Verb::abort_task_set || verb == Verb::clear_task_set || verb == Verb::reset_lun;
  const std::string_view scope = of_lun                       ? "lun"
                                 : verb == Verb::abort_task   ? "itt"
                                 : verb == Verb::reset_target ? "cold"
                                                              : "dry_run";
  http::Fields fields(request, {scope, "dry_run"});
  initiator::RecoveryRequest wanted;
  std::string object = "target " + target;
  bool cold = false;
  if (of_lun) {
    fields.require("lun");
    const auto lun = static_cast<std::uint32_t>(fields.number("lun", 0, proto::scsi::kMaxLunNumber).value_or(0));
    wanted.lun = proto::scsi::encode_lun(lun).value_or(0);
    object += " LUN " + std::to_string(lun);
  } else if (verb == Verb::abort_task) {
    fields.require("itt");
    wanted.itt = static_cast<std::uint32_t>(fields.number("itt", 0, 0xffffffff).value_or(0));
    object += " task " + std::to_string(wanted.itt);
  } else if (verb == Verb::reset_target) {
    cold = fields.flag("cold", false);
    if (cold) object += ", cold";
  }
  wanted.rung = rung_of(verb, cold);
  const Change what{verb, object, fields.flag("dry_run", false), request.peer};
  if (refused(what, fields.refusal(), reply)) return;
  if (refused(what, operations_.full() ? too_many_operations() : kFine, reply)) return;
  OperationEnd end{.request = 0, .target = {}, .client = 0, .within = kTurn + longest_rung(target)};
  if (verb == Verb::reset_session) {
    end.target = target;  // over when it is back
    end.within = kTurn + kRelogin;
  }
  change(
      what, std::move(reply),
      [&](control::OnVerdict done) { gateway_.recover(target, wanted, what.dry_run, std::move(done)); },
      begin_operation(std::move(end)));
}

/// How long a rung may take by the configuration.
proto::Micros Api::longest_rung(const std::string& target) const {
  const config::Config config = setup_.config();
  const auto found = std::ranges::find(config.targets, target, &config::Target::name);
  if (found == config.targets.end()) return 0;
  return std::max({found->timeouts.abort, found->timeouts.lu_reset, found->timeouts.target_reset});
}

void Api::set_log(const http::Request& request, http::Reply reply) {
  http::Fields fields(request, {"level", "for", "dry_run"});
  fields.require("level");
  // In the order of config::LogLevel.
  const auto level =
      static_cast<config::LogLevel>(fields.choice("level", {"trace", "debug", "info", "warn", "error"}).value_or(0));
  const auto text = fields.text("for");
  std::optional<proto::Micros> length;
  if (text) {
    length = parse_length(*text);
    if (!length) fields.refuse("for", "expected a whole number and s, m, min or h, from 1s to 24h");
  }
  const Change what{Verb::set_log_level, "log", fields.flag("dry_run", false), request.peer};
  if (refused(what, fields.refusal(), reply)) return;
  const std::string detail = std::string(config::kLogLevels[static_cast<std::size_t>(level)]) +
                             (length ? " for " + config::format_duration(*length) : " until it is changed again");
  // The line about it must be seen by whoever reads the log before, and by whoever reads it after.
  if (!what.dry_run && level < LogControl::level()) log_.set(level, length, {net::steady_now(), net::wall_now()});
  change(
      what, std::move(reply),
      [&](const control::OnVerdict& done) {
        done({control::VerdictCode::ok, "the log level is " + detail, 0});
      },
      [this, level, length](const Change&, const control::Verdict&, http::Reply answer) {
        log_.set(level, length, {net::steady_now(), net::wall_now()});
        alarm_.set(log_.next_deadline());
        answer.send(http::json_response(200, log_.to_json()));
      });
}

void Api::reload(const http::Request& request, http::Reply reply) {
  http::Fields fields(request, {"dry_run"});
  const Change what{Verb::reload_config, "configuration", fields.flag("dry_run", false), request.peer};
  if (refused(what, fields.refusal(), reply)) return;
  const http::Refusal no_file{409, "wrong_state", "this gateway was not started from a configuration file"};
  if (refused(what, setup_.reload ? kFine : no_file, reply)) return;
  auto shared = std::make_shared<http::Reply>(std::move(reply));
  setup_.reload(what.dry_run, [this, what, shared, postbox = postbox_](control::ReloadOutcome outcome) {
    postbox->post([this, what, shared, outcome = std::move(outcome)] { answer_reload(what, outcome, *shared); });
  });
}

void Api::answer_reload(const Change& what, const control::ReloadOutcome& outcome, http::Reply& reply) {
  const std::string detail = describe(outcome);
  if (outcome.kind == control::ReloadOutcome::Kind::wrong && !outcome.errors.empty()) {
    audit_.record(what, ChangeOutcome::refused, detail + ": " + outcome.errors.front().to_string());
    json::array errors;
    for (const config::Problem& each : outcome.errors)
      errors.push_back({{"file", each.file},
                        {"line", each.line},
                        {"column", each.column},
                        {"key", each.key},
                        {"text", each.text}});
    return reply.send(http::problem(422, "bad_configuration", detail, {{"errors", std::move(errors)}}));
  }
  if (outcome.refused()) {
    refused(what, http::Refusal{409, "busy", detail}, reply);
    return;
  }
  json::array changes;
  for (const control::ConfigChange& each : outcome.diff.changes)
    changes.push_back({{"kind", to_string(each.kind)}, {"object", each.object}, {"detail", each.detail}});
  audit_.record(what, what.dry_run ? ChangeOutcome::dry_run : ChangeOutcome::accepted, detail);
  reply.send(http::json_response(200, json::object{{"dry_run", what.dry_run},
                                                   {"changes", std::move(changes)},
                                                   {"needs_restart", json::value_from(outcome.diff.needs_restart)}}));
}

}  // namespace nbdgw::admin
