#pragma once

#include "gateway/admin/router.hpp"

namespace nbdgw::net {
class TargetServer;
}

namespace nbdgw::admin {

/// The control of an embedded target (tests/FAULTS.md): its faults, and who is logged in. The target was made with
/// TargetServerOptions::faults, and must outlive the router. Everything is done on the target's own thread.
void add_fault_routes(Router& router, net::TargetServer& target);

}  // namespace nbdgw::admin
