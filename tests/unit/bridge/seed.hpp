#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>

#include <doctest/doctest.h>

/// A random source for one test case: seeded from NBDGW_SEED if that is set; printed, so that a failure can be
/// repeated.
inline std::uint64_t random_seed() {
  static const std::uint64_t seed = [] {
    const char* const given = std::getenv("NBDGW_SEED");
    const std::uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    MESSAGE("random tests run with NBDGW_SEED=" << value);
    return value;
  }();
  return seed;
}

inline std::mt19937_64 seeded_random() {
  return std::mt19937_64(random_seed());
}
