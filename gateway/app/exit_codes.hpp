#pragma once

namespace nbdgw::app {

/// What the program's exit status means; printed by `nbdgw --help`.
enum ExitCode : int {
  kSuccess = 0,
  kFailed = 1,    // it was started rightly, but did not come to a good end
  kBadUsage = 2,  // the command line or the configuration is wrong: nothing was started
};

}  // namespace nbdgw::app
