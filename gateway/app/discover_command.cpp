#include <fmt/core.h>

#include "config/address.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/app/portal_inquiry.hpp"
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

  PortalInquiry inquiry(settings);
  if (const std::string wrong = inquiry.run(); !wrong.empty()) {
    fmt::print(stderr, "nbdgw: {} does not tell its targets: {}\n", to_string(portal), wrong);
    return kFailed;
  }
  for (const initiator::DiscoveredTarget& target : inquiry.targets()) {
    fmt::print("{}\n", target.name);
    for (const std::string& address : target.addresses) fmt::print("  {}\n", address);
  }
  if (inquiry.targets().empty()) {
    fmt::print(stderr, "nbdgw: {} shows no target to {}\n", to_string(portal), options.initiator_name);
  }
  return kSuccess;
}

}  // namespace nbdgw::app
