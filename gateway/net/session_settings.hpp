#pragma once

#include "config/model.hpp"
#include "gateway/initiator/settings.hpp"

namespace nbdgw::net {

/// What a session to this target is set up with.
initiator::SessionSettings session_settings(const config::Config& config, const config::Target& target);

}  // namespace nbdgw::net
