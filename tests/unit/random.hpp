#pragma once

#include <cstdlib>
#include <random>
#include <string>

#include <doctest/doctest.h>

namespace nbdgw::test {

/// A generator for a random test. Its seed is drawn anew for each run and printed; NBDGW_SEED takes one back.
inline std::mt19937_64 seeded_random() {
  const char* given = std::getenv("NBDGW_SEED");
  const unsigned long long seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  MESSAGE("NBDGW_SEED=" << seed);
  return std::mt19937_64(seed);
}

}  // namespace nbdgw::test
