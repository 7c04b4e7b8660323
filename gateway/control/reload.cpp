#include "gateway/control/reload.hpp"

#include <fmt/format.h>

namespace nbdgw::control {

std::string describe(const ReloadOutcome& outcome) {
  using Kind = ReloadOutcome::Kind;
  switch (outcome.kind) {
    case Kind::applied:
    case Kind::planned:
      return fmt::format("{} change(s), {} that need a restart", outcome.diff.changes.size(),
                         outcome.diff.needs_restart.size());
    case Kind::wrong:
      return fmt::format("the configuration has {} error(s); nothing was changed", outcome.errors.size());
    case Kind::busy:
      return "another reload is under way; try again when it is done";
    case Kind::stopping:
      return "the gateway is shutting down";
  }
  return {};
}

}  // namespace nbdgw::control
