#pragma once

#include "gateway/http/router.hpp"

namespace nbdgw::target_host {
class TargetServer;
}

namespace nbdgw::admin {

class Audit;

/// The faults of an embedded target (tests/FAULTS.md), as openapi.yaml has them. The target was made with
/// TargetServerOptions::faults, and must outlive the router; so must `audit`, where changes are told if it is there.
/// Everything is done on the target's own thread.
void add_fault_routes(http::Router& router, target_host::TargetServer& target, Audit* audit);

/// All there is to the control of a target of its own: its faults, also by DELETE, and who is logged in.
void add_control_routes(http::Router& router, target_host::TargetServer& target);

}  // namespace nbdgw::admin
