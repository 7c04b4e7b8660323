#pragma once

#include <cstdint>

namespace nbdgw::admin {

/// What the system says of this process.
struct ProcessFigures {
  double cpu_seconds = 0;  // user and system
  std::uint64_t resident_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t threads = 0;
  std::uint64_t open_fds = 0;
  std::uint64_t max_fds = 0;
  double started_at = 0;  // seconds since the epoch
};

/// Reads them, from /proc/self for the most part. What cannot be read is 0.
ProcessFigures process_figures();

}  // namespace nbdgw::admin
