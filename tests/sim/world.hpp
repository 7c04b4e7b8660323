#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// What a run is to be.
struct RunOptions {
  std::uint64_t seed = 1;
  std::uint64_t ios = 2000;  // requests of clients, all together, before everything heals
  bool faults = true;
  std::string mutant{};                 // the bug that is planted in the gateway; empty: none
  bool traced = false;                  // all that happens is printed
  std::vector<std::string> left_out{};  // kinds of faults that do not happen; all else is drawn as with them
};

/// What came of it.
struct RunResult {
  std::string checker;             // that has complained; empty: none has
  std::string complaint;           // the first one
  std::vector<std::string> trace;  // the last things that happened before it, oldest first
  std::uint64_t ios = 0;
  std::uint64_t bytes = 0;
  std::uint64_t large = 0;   // requests above 64 KiB
  std::uint64_t losses = 0;  // of clients' connections
  std::uint64_t events = 0;
  std::uint64_t turns = 0;
  Micros lasted = 0;                                    // of the world's time
  Micros healed_in = 0;                                 // from the last fault to rest
  std::uint64_t fingerprint = 0;                        // of all that happened, and when
  std::map<std::uint32_t, std::uint64_t> errors;        // that clients were told
  std::map<std::string, std::uint64_t> faults;          // that happened
  std::vector<std::pair<std::string, double>> figures;  // of the checkers
};

/// A whole life: everything is drawn from the seed, faults happen, then everything heals and must come to rest.
RunResult run_world(const RunOptions& options);

/// All kinds of faults that can be left out.
std::vector<std::string> kinds_of_faults();

}  // namespace nbdgw::sim
