#include "proto/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace nbdgw::proto {

void assertion_failed(const char* condition, const char* meaning, const char* file, int line) noexcept {
  std::fprintf(stderr, "nbdgw: broken invariant: %s (%s) at %s:%d\n", meaning, condition, file, line);
  std::abort();
}

}  // namespace nbdgw::proto
