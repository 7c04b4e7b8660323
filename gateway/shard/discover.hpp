#pragma once

#include <string>
#include <vector>

#include "gateway/initiator/discovery.hpp"
#include "gateway/initiator/settings.hpp"

namespace nbdgw::shard {

struct DiscoverResult {
  std::vector<initiator::DiscoveredTarget> targets;
  std::string failure;  // empty: all went well
};

/// Asks the first portal of `settings` for its targets (SendTargets, RFC 7143 appendix C). Blocks until it has told
/// them, has refused, or settings.login_timeout has passed without an answer. For the command line: not to be called
/// from a shard.
DiscoverResult discover(const initiator::SessionSettings& settings);

}  // namespace nbdgw::shard
