#include <fmt/core.h>

#include <algorithm>
#include <thread>

#include "config/address.hpp"
#include "config/units.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/control/stall.hpp"
#include "gateway/http/tls_context.hpp"

namespace nbdgw::app {

namespace {

std::string auth_of(const config::Target& target) {
  if (!target.chap) return "no authentication";
  return target.chap->mutual ? "CHAP both ways" : "CHAP";
}

/// Who may use an address of the admin server.
std::string access_of(const config::Admin& admin, const config::AdminEndpoint& address) {
  if (address.endpoint.kind == config::Endpoint::Kind::unix_socket) return "its owner and group";
  const bool certificate = address.tls && admin.tls->client_ca;
  const bool token = !admin.token.empty();
  if (token && certificate) return "a client certificate and the token";
  if (certificate) return "a client certificate";
  return token ? "the token" : "every user of this machine";
}

void print_summary(const std::string& file, const config::Config& config) {
  fmt::print("{}: good\n", file);
  for (const config::Endpoint& endpoint : config.listen.nbd) fmt::print("  listens on  {}\n", to_string(endpoint));
  for (const config::AdminEndpoint& address : config.listen.admin)
    fmt::print("  admin       {}, {}\n", to_string(address), access_of(config.admin, address));
  fmt::print("  initiator   {}\n", config.initiator.name);
  fmt::print("  memory      {} for payload, {} worker(s)\n", config::format_size(config.limits.memory),
             worker_count(config, std::max(1U, std::thread::hardware_concurrency())));
  for (const config::Target& target : config.targets) {
    std::string portals;
    for (const config::Portal& portal : target.portals) portals += (portals.empty() ? "" : ", ") + to_string(portal);
    fmt::print("  target      {}: {} at {}, {} connection(s), {}\n", target.name, target.iqn, portals,
               target.connections, auth_of(target));
    fmt::print("              {}\n", describe(control::worst_case_stall(target), target));
  }
  for (const config::Export& exported : config.exports) {
    fmt::print("  export      {}: target {}, LUN {}{}\n", exported.name, config.targets[exported.target].name,
               exported.lun,
               std::string(exported.read_only ? ", read-only" : "") + (exported.required ? "" : ", not required"));
  }
}

}  // namespace

config::ParseResult read_config(const std::string& config_file) {
  config::ParseResult result = config::load(config_file, config::SystemFileReader());
  if (!result.config || !result.config->admin.tls) return result;
  try {
    http::make_tls_context(*result.config->admin.tls);
  } catch (const http::TlsError& e) {  // what only TLS itself knows: a key that is too short for it
    result.config.reset();
    result.errors.push_back({.file = config_file, .key = {}, .text = e.what()});
  }
  return result;
}

std::optional<config::Config> load_config(const std::string& config_file) {
  config::ParseResult result = read_config(config_file);
  for (const config::Problem& problem : result.errors) fmt::print(stderr, "{}\n", problem.to_string());
  for (const config::Problem& problem : result.warnings) fmt::print(stderr, "{} (warning)\n", problem.to_string());
  if (!result.config) fmt::print(stderr, "{}: {} error(s)\n", config_file, result.errors.size());
  return std::move(result.config);
}

int check_command(const std::string& config_file) {
  const auto config = load_config(config_file);
  if (!config) return kBadUsage;
  print_summary(config_file, *config);
  return kSuccess;
}

}  // namespace nbdgw::app
