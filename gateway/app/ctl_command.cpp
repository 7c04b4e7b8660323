#include "gateway/app/ctl_command.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <boost/json.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "config/address.hpp"
#include "config/names.hpp"
#include "config/units.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/app/ctl_client.hpp"
#include "gateway/app/ctl_text.hpp"
#include "gateway/app/validators.hpp"

namespace nbdgw::app {

namespace json = boost::json;

namespace {

/// Where the service's gateway is, if there is one that has this socket; else where one is by the README.
constexpr const char* kServiceSocket = "/run/nbdgw/admin.sock";
constexpr const char* kDefaultAddress = "http://127.0.0.1:9810";

std::string default_address() {
  return ::access(kServiceSocket, F_OK) == 0 ? std::string("unix://") + kServiceSocket : kDefaultAddress;
}

/// While an operation is under way it is looked at this often.
constexpr auto kPollInterval = std::chrono::milliseconds(200);
/// While clients are waited for they are counted this often.
constexpr auto kIdlePollInterval = std::chrono::milliseconds(100);
/// A question for events is held by the gateway for so long, in seconds, if there are none.
constexpr unsigned kFollowWait = 20;

/// What all of `ctl` shares.
struct Ctl {
  std::string address = default_address();
  std::string token_file;
  CtlConnection connection;
  bool as_json = false;
  bool dry_run = false;
  bool no_wait = false;
  std::string timeout = "30s";
  std::string until_idle;
  std::unique_ptr<CtlClient> client;
};

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

/// Prints the problem, if there is one.
bool good(const CtlAnswer& answer) {
  if (answer.status < 400) return true;
  fmt::print(stderr, "nbdgw: {}\n", problem_text(answer.body, answer.status));
  return false;
}

using Render = std::string (*)(const json::value&);

int show(const Ctl& ctl, const std::string& path, Render render) {
  const CtlAnswer answer = ctl.client->get(path);
  if (!good(answer)) return kFailed;
  print(ctl.as_json ? json::serialize(answer.body) + '\n' : render(answer.body));
  return kSuccess;
}

std::string string_of(const json::value& value, const char* name) {
  const json::object* object = value.if_object();
  const json::value* member = object != nullptr ? object->if_contains(name) : nullptr;
  return member != nullptr && member->is_string() ? std::string(member->get_string()) : std::string();
}

/// Looks at an operation until it has ended.
int wait_for(const Ctl& ctl, json::value operation) {
  const json::value id = operation.as_object().contains("id") ? operation.at("id") : json::value();
  while (string_of(operation, "state") == "running" && !ctl.no_wait) {
    std::this_thread::sleep_for(kPollInterval);
    CtlAnswer answer = ctl.client->get("/v1/operations/" + json::serialize(id));
    if (!good(answer)) return kFailed;
    operation = std::move(answer.body);
  }
  print(ctl.as_json ? json::serialize(operation) + '\n' : operation_text(operation) + '\n');
  return string_of(operation, "state") == "failed" ? kFailed : kSuccess;
}

/// Asks for a change, and waits for its end if it takes time. `render` is for what a change answers that does not.
int change(const Ctl& ctl, const std::string& path, json::object body, Render render) {
  if (ctl.dry_run) body["dry_run"] = true;
  CtlAnswer answer = ctl.client->post(path, body);
  if (!good(answer)) return kFailed;
  if (answer.status == 202 && answer.body.is_object()) return wait_for(ctl, std::move(answer.body));
  if (ctl.as_json) {
    print(json::serialize(answer.body) + '\n');
  } else if (const std::string detail = string_of(answer.body, "detail"); ctl.dry_run && !detail.empty()) {
    print("would be done: " + detail + '\n');
  } else {
    print(render(answer.body));
  }
  return kSuccess;
}

std::string draining_text(const json::value& answer) {
  const bool draining =
      answer.is_object() && answer.as_object().contains("draining") && answer.at("draining") == json::value(true);
  return draining ? "no new clients are taken, on any export\n" : "new clients are taken\n";
}

/// Waits until nobody is attached any more: `path` is the gateway's status or an export's, which both count clients.
int wait_until_idle(const Ctl& ctl, const std::string& path) {
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::microseconds(config::parse_duration(ctl.until_idle).value_or(0));
  for (;;) {
    const CtlAnswer answer = ctl.client->get(path);
    if (!good(answer)) return kFailed;
    const auto clients = answer.body.at("clients").to_number<std::uint64_t>();
    if (clients == 0) return kSuccess;
    if (std::chrono::steady_clock::now() >= end) {
      fmt::print(stderr, "nbdgw: {} client(s) are still attached after {}\n", clients, ctl.until_idle);
      return kFailed;
    }
    std::this_thread::sleep_for(kIdlePollInterval);
  }
}

/// One line for each event, and with --follow those that come, until it is interrupted.
int events(const Ctl& ctl, std::uint64_t since, bool follow) {
  for (;;) {
    const CtlAnswer answer = ctl.client->get(
        fmt::format("/v1/events?since={}{}", since, follow ? fmt::format("&wait={}", kFollowWait) : ""));
    if (!good(answer)) return kFailed;
    const json::object& list = answer.body.as_object();
    for (const json::value& event : list.at("events").as_array())
      print((ctl.as_json ? json::serialize(event) : event_text(event)) + '\n');
    const auto missed = list.at("missed").to_number<std::uint64_t>();
    if (missed > 0 && since > 0) fmt::print(stderr, "nbdgw: {} events came and went unseen\n", missed);
    if (!follow) return kSuccess;
    const auto last = list.at("last").to_number<std::uint64_t>();
    if (last < since) fmt::print(stderr, "nbdgw: the gateway was started again: its events begin anew\n");
    since = last;
  }
}

/// Reads what the command line says of the way to the gateway. An exit code, if that went wrong.
std::optional<int> prepare(Ctl& ctl) {
  config::parse_admin_endpoint(ctl.address, ctl.connection.address);  // checked by the command line
  ctl.connection.timeout = *config::parse_duration(ctl.timeout);
  if (!ctl.token_file.empty()) {
    auto token = load_secret(ctl.token_file);
    if (!token) return kBadUsage;
    ctl.connection.token = *std::move(token);
  }
  ctl.client = std::make_unique<CtlClient>(ctl.connection);
  return std::nullopt;
}

class CtlCommands {
 public:
  CtlCommands(CLI::App& ctl_app, std::shared_ptr<Ctl> ctl, std::function<int()>& command)
      : app_(ctl_app), ctl_(std::move(ctl)), command_(command) {}

  void add_views() {
    on(app_.add_subcommand("status", "The gateway at a glance"),
       [](const Ctl& ctl) { return show(ctl, "/v1/status", status_text); });
    with_name("exports", "All exports, or one in detail", "name", "/v1/exports", exports_text, export_text);
    on(app_.add_subcommand("clients", "The NBD clients"),
       [](const Ctl& ctl) { return show(ctl, "/v1/clients", clients_text); });
    with_name("sessions", "All iSCSI sessions, or one in detail", "target", "/v1/sessions", sessions_text,
              session_text);
    CLI::App* tasks = app_.add_subcommand("tasks", "The SCSI tasks that are with a target");
    const auto target = text(tasks, "target", "The target's name");
    on(tasks, [target](const Ctl& ctl) {
      return show(ctl, "/v1/sessions/" + percent_encode(*target) + "/tasks", tasks_text);
    });
    on(app_.add_subcommand("operations", "What was asked for by hand"),
       [](const Ctl& ctl) { return show(ctl, "/v1/operations", operations_text); });
    CLI::App* events_app =
        app_.add_subcommand("events", "What has happened: recovery, LUNs, errors that clients were told, states");
    const auto follow = std::make_shared<bool>(false);
    const auto since = std::make_shared<std::uint64_t>(0);
    events_app->add_flag("-f,--follow", *follow, "Go on with what comes, until interrupted");
    events_app->add_option("--since", *since, "Only events after this number");
    on(events_app, [follow, since](const Ctl& ctl) { return events(ctl, *since, *follow); });
    on(app_.add_subcommand("config", "The configuration in force, as JSON, without secrets"), [](const Ctl& ctl) {
      return show(ctl, "/v1/config", [](const json::value& config) { return json::serialize(config) + '\n'; });
    });
  }

  void add_states() {
    state("drain", "Take no new clients, on an export or on all; those attached go on", "drain", "/v1/drain");
    state("undrain", "Take new clients again", "ready", "/v1/undrain");
    state("maint", "Take no new clients on an export, and send those attached away in good order", "maint", "");
    CLI::App* rescan = change_app("rescan", "Look anew at the LUN of an export: what it is, and how large");
    const auto name = text(rescan, "export", "The export's name");
    on(rescan, [name](const Ctl& ctl) {
      return change(ctl, "/v1/exports/" + percent_encode(*name) + "/rescan", {}, operation_text);
    });
    CLI::App* disconnect = change_app("disconnect", "Send an NBD client away in good order");
    const auto id = count(disconnect, "id", "Its number, from `clients`");
    on(disconnect, [id](const Ctl& ctl) {
      return change(ctl, fmt::format("/v1/clients/{}/disconnect", *id), {}, operation_text);
    });
  }

  void add_rungs() {
    CLI::App* abort = change_app("abort", "Abort a SCSI task (ABORT TASK)");
    const auto abort_target = text(abort, "target", "The target's name");
    const auto itt = count(abort, "itt", "Its tag, from `tasks`");
    on(abort, [abort_target, itt](const Ctl& ctl) {
      return change(ctl, "/v1/sessions/" + percent_encode(*abort_target) + "/abort-task", {{"itt", *itt}},
                    operation_text);
    });
    CLI::App* drop = change_app("drop", "Drop a TCP connection: its session is lost for it, and logs in again");
    const auto drop_target = text(drop, "target", "The target's name");
    const auto cid = count(drop, "cid", "The connection, from `sessions TARGET`");
    on(drop, [drop_target, cid](const Ctl& ctl) {
      return change(ctl, fmt::format("/v1/sessions/{}/connections/{}/drop", percent_encode(*drop_target), *cid), {},
                    operation_text);
    });
    CLI::App* reset = app_.add_subcommand("reset", "Reset a LUN, a target, or a session");
    reset->require_subcommand(1);
    CLI::App* lun = change_app("lun", "LOGICAL UNIT RESET", reset);
    const auto lun_target = text(lun, "target", "The target's name");
    const auto number = count(lun, "lun", "Its number");
    on(lun, [lun_target, number](const Ctl& ctl) {
      return change(ctl, "/v1/sessions/" + percent_encode(*lun_target) + "/reset-lun", {{"lun", *number}},
                    operation_text);
    });
    CLI::App* whole = change_app("target", "TARGET WARM RESET, or COLD", reset);
    const auto whole_target = text(whole, "target", "The target's name");
    const auto cold = std::make_shared<bool>(false);
    whole->add_flag("--cold", *cold, "TARGET COLD RESET, which ends all sessions, of other initiators, too");
    on(whole, [whole_target, cold](const Ctl& ctl) {
      return change(ctl, "/v1/sessions/" + percent_encode(*whole_target) + "/reset-target", {{"cold", *cold}},
                    operation_text);
    });
    CLI::App* session = change_app("session", "Drop all connections and log in again", reset);
    const auto session_target = text(session, "target", "The target's name");
    on(session, [session_target](const Ctl& ctl) {
      return change(ctl, "/v1/sessions/" + percent_encode(*session_target) + "/reset", {}, operation_text);
    });
  }

  void add_configuration() {
    CLI::App* log = change_app("log", "Show the log level, or change it");
    const auto level = std::make_shared<std::string>();
    const auto length = std::make_shared<std::string>();
    CLI::Option* wanted =
        log->add_option("level", *level, "trace, debug, info, warn or error")
            ->check(CLI::IsMember(std::vector<std::string>(config::kLogLevels.begin(), config::kLogLevels.end())));
    log->add_option("--for", *length, "Fall back to the configured level after this, for example 10m")->needs(wanted);
    on(log, [level, length](const Ctl& ctl) {
      if (level->empty()) return show(ctl, "/v1/log", log_text);
      json::object body{{"level", *level}};
      if (!length->empty()) body["for"] = *length;
      return change(ctl, "/v1/log", std::move(body), log_text);
    });
    CLI::App* reload = change_app("reload", "Read the configuration file again and apply what can be");
    on(reload, [](const Ctl& ctl) { return change(ctl, "/v1/config/reload", {}, reload_text); });
  }

 private:
  using Action = std::function<int(const Ctl&)>;

  void on(CLI::App* app, Action action) {
    app->callback([ctl = ctl_, &command = command_, action = std::move(action)] {
      command = [ctl, action] {
        if (const auto wrong = prepare(*ctl)) return *wrong;
        try {
          return action(*ctl);
        } catch (const CtlError& error) {
          fmt::print(stderr, "nbdgw: {}\n", error.what());
        } catch (const boost::system::system_error& error) {  // an answer of another shape than it should have
          fmt::print(stderr, "nbdgw: the answer makes no sense: {}\n", error.what());
        }
        return static_cast<int>(kFailed);
      };
    });
  }

  CLI::App* change_app(const std::string& name, const std::string& help, CLI::App* parent = nullptr) {
    CLI::App* app = (parent != nullptr ? parent : &app_)->add_subcommand(name, help);
    app->add_flag("--dry-run", ctl_->dry_run, "Change nothing, and say what would be done");
    app->add_flag("--no-wait", ctl_->no_wait, "Do not wait for the end of the operation");
    return app;
  }

  static std::shared_ptr<std::string> text(CLI::App* app, const std::string& name, const std::string& help) {
    const auto value = std::make_shared<std::string>();
    app->add_option(name, *value, help)->required();
    return value;
  }
  static std::shared_ptr<std::uint64_t> count(CLI::App* app, const std::string& name, const std::string& help) {
    const auto value = std::make_shared<std::uint64_t>();
    app->add_option(name, *value, help)->required();
    return value;
  }

  void with_name(const std::string& name, const std::string& help, const std::string& argument,
                 const std::string& path, Render list, Render one) {
    CLI::App* app = app_.add_subcommand(name, help);
    const auto which = std::make_shared<std::string>();
    app->add_option(argument, *which, "Only this one, in detail");
    on(app, [which, path, list, one](const Ctl& ctl) {
      return which->empty() ? show(ctl, path, list) : show(ctl, path + '/' + percent_encode(*which), one);
    });
  }

  /// `path`: for the whole gateway; empty: it must be an export.
  void state(const std::string& name, const std::string& help, const std::string& state, const std::string& path) {
    CLI::App* app = change_app(name, help);
    const auto which = std::make_shared<std::string>();
    CLI::Option* option = app->add_option("export", *which, path.empty() ? "The export" : "Only this export");
    if (path.empty()) option->required();
    if (state == "drain") {
      app->add_option("--until-idle", ctl_->until_idle, "Then wait until no client is attached, at most for so long")
          ->check(duration());
    }
    on(app, [which, state, path](const Ctl& ctl) {
      const std::string object = "/v1/exports/" + percent_encode(*which);
      const int done = which->empty() ? change(ctl, path, {}, draining_text)
                                      : change(ctl, object + "/state", {{"state", state}}, export_text);
      if (done != kSuccess || ctl.until_idle.empty() || ctl.dry_run) return done;
      return wait_until_idle(ctl, which->empty() ? "/v1/status" : object);
    });
  }

  CLI::App& app_;
  std::shared_ptr<Ctl> ctl_;
  std::function<int()>& command_;
};

}  // namespace

void add_ctl_command(CLI::App& app, std::function<int()>& command) {
  const auto ctl = std::make_shared<Ctl>();
  CLI::App* sub = app.add_subcommand("ctl", "Watch and steer a running gateway through its admin address");
  sub->require_subcommand(1);
  sub->add_option("-a,--address", ctl->address, "Where it is: http://HOST:PORT, https://HOST:PORT or unix:///PATH")
      ->envname("NBDGW_ADMIN")
      ->check(CLI::Validator(
          [](std::string& text) {
            config::AdminEndpoint address;
            return config::parse_admin_endpoint(text, address);
          },
          "ADDR"))
      ->capture_default_str();
  sub->add_option("--token-file", ctl->token_file, "File with the bearer token, if one is demanded")
      ->envname("NBDGW_ADMIN_TOKEN_FILE");
  sub->add_option("--ca-file", ctl->connection.ca_file, "https: who may have signed the gateway's certificate (PEM)");
  CLI::Option* certificate =
      sub->add_option("--cert-file", ctl->connection.certificate_file, "https: our certificate (PEM)");
  CLI::Option* key = sub->add_option("--key-file", ctl->connection.key_file, "https: its key (PEM)");
  certificate->needs(key);
  key->needs(certificate);
  sub->add_option("--timeout", ctl->timeout, "How long an answer may take")->check(duration())->capture_default_str();
  sub->add_flag("--json", ctl->as_json, "Print the answers as they are, for scripts");
  sub->fallthrough();
  CtlCommands commands(*sub, ctl, command);
  commands.add_views();
  commands.add_states();
  commands.add_rungs();
  commands.add_configuration();
}

}  // namespace nbdgw::app
