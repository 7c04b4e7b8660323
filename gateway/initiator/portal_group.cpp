#include "gateway/initiator/portal_group.hpp"

namespace nbdgw::initiator {

std::string portal_text(const Portal& portal) {
  const bool v6 = portal.host.find(':') != std::string::npos;
  return (v6 ? "[" + portal.host + "]" : portal.host) + ":" + std::to_string(portal.port);
}

std::string group_text(const PortalGroup& group) {
  return group.tag ? "portal group " + std::to_string(*group.tag) : "portal " + portal_text(group.portal);
}

}  // namespace nbdgw::initiator
