#include <cstdio>

#include "config/address.hpp"
#include "config/names.hpp"
#include "gateway/admin/fault_routes.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/app/logging.hpp"
#include "gateway/app/process.hpp"
#include "gateway/app/signals.hpp"
#include "gateway/http/server.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/iscsi_target/volatile_medium.hpp"
#include "gateway/net/log.hpp"
#include "gateway/target_host/file_medium.hpp"
#include "gateway/target_host/server.hpp"

namespace nbdgw::app {

namespace {

using Mediums = std::vector<std::unique_ptr<iscsi_target::Medium>>;

std::unique_ptr<iscsi_target::Medium> open_medium(const LunSpec& spec) {
  if (spec.kind == LunSpec::Kind::memory) return std::make_unique<iscsi_target::MemoryMedium>(spec.size);
  return std::make_unique<target_host::TargetFileMedium>(spec.path, spec.size, spec.read_only);
}

/// Throws net::TargetError.
iscsi_target::TargetOptions target_options(const TargetCommandOptions& options, Mediums& mediums) {
  iscsi_target::TargetOptions target{.name = options.iqn.front(), .alias = {}, .luns = {}};
  for (const LunSpec& spec : options.luns) {
    mediums.push_back(open_medium(spec));
    // What has a write cache can lose it.
    if (!options.control.empty() && !spec.read_only && !spec.write_through)
      mediums.push_back(std::make_unique<iscsi_target::VolatileMedium>(*mediums.back()));
    target.luns.push_back({.number = static_cast<std::uint32_t>(target.luns.size() + 1),
                           .medium = mediums.back().get(),
                           .block_size = spec.block_size,
                           .read_only = spec.read_only,
                           .write_cache = !spec.write_through,
                           .serial = {},
                           .identity = options.iqn.front()});
  }
  return target;
}

/// False: a secret could not be read, and that was said.
bool set_chap(const TargetCommandOptions& options, iscsi_target::ChapOptions& chap) {
  const auto set = [](const std::string& user, const std::string& file, std::string& to_user,
                      std::string& to_secret) {
    if (user.empty()) return true;
    auto secret = load_secret(file);
    if (!secret) return false;
    to_user = user;
    to_secret = *std::move(secret);
    return true;
  };
  return set(options.chap_user, options.chap_secret_file, chap.user, chap.secret) &&
         set(options.mutual_user, options.mutual_secret_file, chap.mutual_user, chap.mutual_secret);
}

/// Null: none was asked for. Throws net::ListenError.
std::unique_ptr<http::HttpServer> make_control(const std::string& address, http::Router& router,
                                               target_host::TargetServer& server) {
  if (address.empty()) return nullptr;
  config::Endpoint endpoint;
  parse_control_address(address, endpoint);  // checked by the command line
  admin::add_control_routes(router, server);
  const bool is_tcp = endpoint.kind == config::Endpoint::Kind::tcp;
  const http::HttpAddress where{.endpoint = endpoint, .tls = nullptr, .token = nullptr, .local_names_only = is_tcp};
  return std::make_unique<http::HttpServer>(std::vector{where}, router,
                                            net::ListenerSettings{.address = "--control", .limit = "of the control"});
}

}  // namespace

std::string parse_control_address(const std::string& text, config::Endpoint& endpoint) {
  if (text.starts_with("unix://")) return config::parse_endpoint(text, endpoint);
  if (std::string wrong = config::parse_host_port(text, 0, endpoint.host, endpoint.port); !wrong.empty())
    return wrong;
  // Nobody is asked who he is there.
  return config::is_local(endpoint)
             ? ""
             : "\"" + text + "\" is not on loopback: write 127.0.0.1:PORT, [::1]:PORT or unix:///PATH";
}

int target_command(const TargetCommandOptions& options) {
  target_host::TargetServerOptions server_options;
  config::parse_host_port(options.listen.front(), config::kIscsiPort, server_options.host, server_options.port);
  for (std::size_t i = 1; i < options.listen.size(); ++i) {
    auto& [host, port] = server_options.more.emplace_back();
    config::parse_host_port(options.listen[i], config::kIscsiPort, host, port);
  }
  iscsi_target::ServerOptions& settings = server_options.target;
  if (!set_chap(options, settings.chap)) return kBadUsage;
  server_options.faults = !options.control.empty();
  settings.queue_depth = options.queue_depth;
  settings.wishes.session.max_connections = options.max_connections;
  settings.wishes.session.initial_r2t = options.initial_r2t;
  settings.wishes.session.immediate_data = options.immediate_data;

  StopSignals signals;  // before there is any other thread
  const std::string trouble = prepare_process();
  // The command line has checked the word.
  const Logging logging({.level = config::parse_log_level(options.log_level).value_or(config::LogLevel::info),
                         .format = options.log_format});
  if (!trouble.empty()) net::log::debug({}, "{}", trouble);
  Mediums mediums;
  http::Router router;
  try {
    settings.targets.push_back(target_options(options, mediums));
    for (std::size_t i = 1; i < options.iqn.size(); ++i) {
      iscsi_target::TargetOptions again = settings.targets.front();
      again.name = options.iqn[i];
      settings.targets.push_back(std::move(again));
    }
    target_host::TargetServer server(std::move(server_options));
    const auto control = make_control(options.control, router, server);
    server.start();
    // Scripts read the port from this line.
    for (const std::string& address : server.addresses())
      std::printf("%s on %s, LUN 1 to %zu\n", options.iqn.front().c_str(), address.c_str(), options.luns.size());
    if (control) {
      control->start();
      std::printf("control on %s\n", control->addresses().front().c_str());
    }
    std::fflush(stdout);
    signals.wait();
    if (control) control->stop();
    server.stop();
  } catch (const std::runtime_error& e) {
    std::fprintf(stderr, "nbdgw target: %s\n", e.what());
    return kFailed;
  }
  net::log::tell_all();
  net::log::info({}, "ended");
  return kSuccess;
}

}  // namespace nbdgw::app
