#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <thread>

/// For what another thread does.
namespace nbdgw::test {

/// Waits until something is so; false: it did not come to that in this time.
inline bool becomes_true(const std::function<bool()>& condition,
                         std::chrono::milliseconds within = std::chrono::seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

/// The same, where nothing else makes sense.
inline void until(const std::function<bool()>& condition) {
  REQUIRE(becomes_true(condition));
}

}  // namespace nbdgw::test
