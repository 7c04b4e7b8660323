#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// What a run is to be.
struct RunOptions {
  std::uint64_t seed = 1;
  std::uint64_t ios = 2000;  // requests of clients, all together, before everything heals
  bool faults = true;
};

/// What came of it.
struct RunResult {
  std::string checker;    // that has complained; empty: none has
  std::string complaint;  // the first one
  std::uint64_t ios = 0;
  std::uint64_t bytes = 0;
  std::uint64_t losses = 0;  // of clients' connections
  std::uint64_t events = 0;
  std::uint64_t turns = 0;
  Micros lasted = 0;                              // of the world's time
  std::uint64_t fingerprint = 0;                  // of all that clients saw, and when
  std::map<std::uint32_t, std::uint64_t> errors;  // that clients were told
  std::map<std::string, std::uint64_t> faults;    // that happened
};

/// A whole life: everything is drawn from the seed, faults happen, then everything heals and must come to rest.
RunResult run_world(const RunOptions& options);

}  // namespace nbdgw::sim
