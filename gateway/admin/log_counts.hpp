#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace spdlog::sinks {
class sink;
}

namespace nbdgw::admin {

/// Log messages of the process so far, by level.
struct LogCounts {
  static constexpr std::array kLevels{"trace", "debug", "info", "warn", "error"};
  std::array<std::uint64_t, kLevels.size()> messages{};
  std::uint64_t dropped = 0;  // of them, written nowhere (net::log::dropped())
};

/// A sink that counts what it gets, for log_counts(), and writes nothing. All of them count into the same numbers:
/// the process has one log.
std::shared_ptr<spdlog::sinks::sink> make_counting_sink();

/// From any thread.
LogCounts log_counts() noexcept;

}  // namespace nbdgw::admin
