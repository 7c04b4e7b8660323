#include <fmt/core.h>

#include "config/address.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/shard/discover.hpp"
#include "proto/assert.hpp"

namespace nbdgw::app {

int discover_command(const DiscoverOptions& options) {
  config::Portal portal;
  NBDGW_ASSERT(config::parse_portal(options.portal, portal).empty(), "the command line has been checked");
  initiator::SessionSettings settings;
  settings.initiator_name = options.initiator_name;
  settings.portals = {{portal.host, portal.port}};
  if (!options.chap_user.empty()) {
    auto secret = load_secret(options.chap_secret_file);
    if (!secret) return kBadUsage;
    settings.chap.user = options.chap_user;
    settings.chap.secret = *std::move(secret);
  }

  const shard::DiscoverResult result = shard::discover(settings);
  if (!result.failure.empty()) {
    fmt::print(stderr, "nbdgw: {} does not tell its targets: {}\n", to_string(portal), result.failure);
    return kFailed;
  }
  for (const initiator::DiscoveredTarget& target : result.targets) {
    fmt::print("{}\n", target.name);
    for (const std::string& address : target.addresses) fmt::print("  {}\n", address);
  }
  if (result.targets.empty()) {
    fmt::print(stderr, "nbdgw: {} shows no target to {}\n", to_string(portal), options.initiator_name);
  }
  return kSuccess;
}

}  // namespace nbdgw::app
