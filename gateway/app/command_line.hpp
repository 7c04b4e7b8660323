#pragma once

namespace nbdgw::app {

/// Reads the command line and runs the command that it names. Returns its exit code; kBadUsage, with an explanation
/// on standard error, if the command line is wrong.
int run_command_line(int count, const char* const* arguments);

}  // namespace nbdgw::app
