#include "proto/assert.hpp"

#include <poll.h>

#include <cstdio>
#include <cstdlib>

namespace nbdgw::proto {

namespace {

constexpr int kStandardError = 2;

/// A pipe that says so takes a line whole (PIPE_BUF), so that nobody who does not read it keeps a broken program from
/// ending.
bool takes_a_line(int fd) noexcept {
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  return ::poll(&ready, 1, 0) == 1;
}

}  // namespace

void assertion_failed(const char* condition, const char* meaning, const char* file, int line) noexcept {
  if (takes_a_line(kStandardError)) {
    std::fprintf(stderr, "nbdgw: broken invariant: %.1000s (%.1000s) at %.1000s:%d\n", meaning, condition, file,
                 line);
  }
  std::abort();
}

}  // namespace nbdgw::proto
