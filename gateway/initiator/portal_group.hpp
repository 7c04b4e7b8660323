#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gateway/initiator/proof.hpp"
#include "gateway/initiator/settings.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {

/// Where a session is: the target's end of the nexus (RFC 7143 section 4.4: initiator name, ISID, target name and
/// portal group tag). A login reinstates the session of before only in the same group: another one is another
/// controller, which knows nothing of that session.
struct PortalGroup {
  std::optional<std::uint16_t> tag;  // TargetPortalGroupTag, if the target told it
  Portal portal;
  std::string address;  // what the shell connected to, in its words; empty: it did not say

  std::int32_t number() const noexcept { return tag ? std::int32_t{*tag} : Proof::kNoGroup; }
};

/// A target that does not tell its groups: only the same portal at the same address is surely the same one.
inline bool same_group(const PortalGroup& a, const PortalGroup& b) noexcept {
  if (a.tag && b.tag) return a.tag == b.tag || NBDGW_MUTANT(groups_alike);
  return a.portal == b.portal && (a.address.empty() || b.address.empty() || a.address == b.address);
}

/// For people: "portal group 2", or where it is if the target does not tell.
std::string group_text(const PortalGroup& group);
std::string portal_text(const Portal& portal);

}  // namespace nbdgw::initiator
