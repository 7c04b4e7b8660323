#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model.hpp"

/// What lies between the configuration in force and another one. Pure.
namespace nbdgw::control {

/// What is to be done about an object, or a key of one.
enum class ChangeEffect : std::uint8_t {
  none,      // nothing runs that would notice (a target that no export uses)
  in_place,  // takes effect while everything goes on
  replaced,  // the object ends in good order and is made anew: its clients are sent away, and may come back at once
};

struct ConfigChange {
  enum class Kind : std::uint8_t { added, changed, removed };
  Kind kind{};
  std::string object;  // "export vol1", "target array", "admin", "limits", "log"
  std::string detail;  // changed: the keys, as in the file, and what follows for clients; for people. Else empty
  ChangeEffect effect = ChangeEffect::none;

  bool operator==(const ConfigChange&) const = default;
};

struct ConfigDiff {
  std::vector<ConfigChange> changes;  // targets, then exports, as they come in the files; then the rest
  /// Keys that differ and are read at the start only ("limits.memory").
  std::vector<std::string> needs_restart;

  bool empty() const noexcept { return changes.empty() && needs_restart.empty(); }
};

/// From `in_force` to `next`. Targets and exports are known by their names: another name is another object.
ConfigDiff diff(const config::Config& in_force, const config::Config& next);

/// `next` without what needs a restart: what is in force once it has been applied to a gateway that runs `in_force`.
config::Config without_restart(const config::Config& in_force, config::Config next);

const char* to_string(ConfigChange::Kind kind) noexcept;
/// "changed export vol1 (description)".
std::string describe(const ConfigChange& change);

/// Whether a target of these settings needs another session than the one it has.
bool session_differs(const config::Target& a, const config::Target& b);
/// The target or export of that name, or null.
const config::Target* target_named(const config::Config& config, const std::string& name) noexcept;
const config::Export* export_named(const config::Config& config, const std::string& name) noexcept;
inline const config::Target& target_of(const config::Config& config, const config::Export& exported) {
  return config.targets[exported.target];
}
/// Whether any export lives on it: a target that none does has no session.
bool is_used(const config::Config& config, const config::Target& target) noexcept;

}  // namespace nbdgw::control
