#pragma once

#include "tests/sim/world.hpp"

namespace nbdgw::sim {

/// A smaller run that fails as well as this one: with fewer kinds of faults, and fewer requests. The same, if this
/// one does not fail. Each try is a process of its own, for some runs end in a crash.
RunOptions shrink(RunOptions failing);

}  // namespace nbdgw::sim
