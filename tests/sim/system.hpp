#pragma once

#include "tests/sim/network.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// What the wall clock shows when the machine has just been started: 2026-01-01.
inline constexpr Micros kWallClock = 1767225600 * proto::kSecond;

/// What the system calls of the gateway get to. One world at a time.
struct System {
  Network* network = nullptr;
  Timeline* timeline = nullptr;
  Random* random = nullptr;
  Micros slept = 0;  // by the machine, so far
  Micros cpu = 0;    // used by the gateway's threads
};

System& system() noexcept;

}  // namespace nbdgw::sim
