#pragma once

#include "gateway/admin/router.hpp"

namespace nbdgw::net {
class TargetServer;
}

namespace nbdgw::admin {

class Audit;

/// The faults of an embedded target (tests/FAULTS.md), as openapi.yaml has them. The target was made with
/// TargetServerOptions::faults, and must outlive the router; so must `audit`, where changes are told if it is there.
/// Everything is done on the target's own thread.
void add_fault_routes(Router& router, net::TargetServer& target, Audit* audit);

/// All there is to the control of a target of its own: its faults, also by DELETE, and who is logged in.
void add_control_routes(Router& router, net::TargetServer& target);

}  // namespace nbdgw::admin
