#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gateway/control/config_diff.hpp"

namespace nbdgw::control {

enum class ReloadOutcome : std::uint8_t {
  applied,   // all that can be while the gateway runs; perhaps there was nothing to do
  planned,   // a dry run: this would be done
  busy,      // another one is being applied: later perhaps
  stopping,  // the gateway shuts down
};

/// What has become of a configuration that was handed to a running gateway.
struct ReloadReport {
  ReloadOutcome outcome{};
  ConfigDiff diff;  // applied, planned: against what was in force
};

/// Called once, on the control thread, or destroyed uncalled when the gateway ends before that.
using OnReload = std::function<void(ReloadReport)>;

const char* to_string(ReloadOutcome outcome) noexcept;

}  // namespace nbdgw::control
