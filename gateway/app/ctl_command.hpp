#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace nbdgw::app {

/// `nbdgw ctl ...`: the admin API from a shell. Adds it to the command line; what is to be run ends up in `command`.
/// Exit status: 1 where the gateway cannot be reached, refuses, or an operation fails.
void add_ctl_command(CLI::App& app, std::function<int()>& command);

}  // namespace nbdgw::app
