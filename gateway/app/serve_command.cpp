#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "gateway/admin/admin_server.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/app/logging.hpp"
#include "gateway/app/process.hpp"
#include "gateway/app/reloader.hpp"
#include "gateway/app/restart_store.hpp"
#include "gateway/app/service_manager.hpp"
#include "gateway/app/signals.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/control/reload.hpp"
#include "gateway/net/log.hpp"

namespace nbdgw::app {

namespace {

/// What the admin API can have done by the program around the gateway.
admin::ApiSetup api_setup(control::Gateway& gateway, Reloader& reloader) {
  admin::ApiSetup setup;
  setup.version = NBDGW_VERSION;
  setup.config = [&gateway] { return *gateway.config(); };
  setup.reload = [&reloader](bool dry_run, control::OnReload done) { reloader.reload(dry_run, std::move(done)); };
  setup.reloads = [&reloader] { return reloader.counts(); };
  return setup;
}

/// systemd makes it for RuntimeDirectory= of the unit, and names it.
std::string state_dir(const config::Config& config) {
  if (!config.state_dir.empty()) return config.state_dir;
  const char* const folders = std::getenv("RUNTIME_DIRECTORY");
  if (folders == nullptr) return {};
  const std::string_view all = folders;
  return std::string(all.substr(0, all.find(':')));
}

}  // namespace

int serve_command(const std::string& config_file, std::optional<config::LogFormat> log_format) {
  auto config = load_config(config_file);
  if (!config) return kBadUsage;
  StopSignals signals(StopSignals::Hangup::waited_for);  // before there is any other thread
  const std::string trouble = prepare_process();
  const Logging logging({.level = config->log.level, .format = log_format.value_or(config->log.format)});
  if (!trouble.empty()) net::log::debug({}, "{}", trouble);

  PassedDescriptors passed = passed_descriptors();
  RestartStore store(std::move(passed.stored));
  control::Gateway gateway(*config, {.inherited = &passed.sockets,
                                     .kept = &store.kept(),
                                     .keep_clients = store.is_there(),
                                     .state_dir = state_dir(*config)});
  Reloader reloader(config_file, gateway);
  std::optional<admin::AdminServer> admin;
  if (!config->listen.admin.empty()) {
    admin.emplace(*config, gateway, api_setup(gateway, reloader), http::HttpLimits{}, &passed.sockets);
    reloader.set_participant([&admin](const config::Config& next) { return admin->prepare(next.admin); });
  }
  gateway.start();
  if (admin) admin->start();
  ServiceManager manager;
  manager.ready(gateway,
                fmt::format("{} export(s) on {}", config->exports.size(), fmt::join(gateway.addresses(), ", ")));
  net::log::info({}, "nbdgw {}: {} export(s) on {}, {} worker(s)", NBDGW_VERSION, config->exports.size(),
                 fmt::join(gateway.addresses(), ", "), gateway.worker_count());

  int signal = signals.wait();
  for (; signal == SIGHUP; signal = signals.wait()) {
    net::log::info({}, "SIGHUP: reading {} again", config_file);
    ServiceManager::reloading();
    reloader.reload(false, &ServiceManager::reloaded);
  }
  net::log::info({}, "{}: no new clients; finishing what is in flight (the same signal again ends at once)",
                 signal == SIGINT ? "SIGINT" : "SIGTERM");
  manager.stopping("finishing what is in flight");
  signals.run_unless_signalled(
      [&gateway, &admin, &store] {
        if (admin) admin->begin_end();  // first: whoever sends clients looks elsewhere
        gateway.drain();
        gateway.wait();
        if (admin) admin->stop();
        const shard::KeptState kept = gateway.take_kept();
        gateway.end_record(kept, store.is_there() && RestartStore::put(kept));
      },
      "second signal: ended at once; requests in flight are cut off");
  net::log::tell_all();
  net::log::info({}, "ended");
  return kSuccess;
}

}  // namespace nbdgw::app
