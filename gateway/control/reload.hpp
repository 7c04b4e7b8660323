#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "config/parse.hpp"
#include "gateway/control/config_diff.hpp"

namespace nbdgw::control {

/// What became of a configuration that was to be put in force. All that tells of a reload goes by this: the log,
/// events, metrics, the API, the service manager.
struct ReloadOutcome {
  enum class Kind : std::uint8_t {
    applied,   // all that can be while the gateway runs; perhaps there was nothing to do
    planned,   // a dry run: this would be done
    wrong,     // it has errors; nothing was changed, as below
    busy,      // another one is being applied: later perhaps
    stopping,  // the gateway shuts down, perhaps in the middle of it
  };

  Kind kind = Kind::stopping;
  ConfigDiff diff{};                      // applied, planned: against what was in force
  std::vector<config::Problem> errors{};  // wrong: all of them

  /// It was not put in force, or would not be; or (stopping) not all of it.
  bool refused() const noexcept { return kind != Kind::applied && kind != Kind::planned; }
};

/// For people, in a line: how much was changed, or why nothing was.
std::string describe(const ReloadOutcome& outcome);

/// Called once, or destroyed uncalled when the gateway ends before that.
using OnReload = std::function<void(ReloadOutcome)>;

/// How reloads have gone since the start, whoever asked for them; dry runs do not count.
struct ReloadCounts {
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  /// Whether of all that have ended the one that was asked for last did so well: if not, what is in force is not what
  /// somebody wanted.
  bool last_succeeded = true;
  std::int64_t loaded_at = 0;  // the one in force: microseconds since the epoch
};

}  // namespace nbdgw::control
