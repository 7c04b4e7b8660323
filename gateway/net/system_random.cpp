#include "gateway/net/system_random.hpp"

#include <sys/random.h>

#include <cerrno>

#include "proto/assert.hpp"

namespace nbdgw::net {

void SystemRandom::fill(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t n = ::getrandom(out.data(), out.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    NBDGW_ASSERT(n > 0, "getrandom() works since Linux 3.17");
    out = out.subspan(static_cast<std::size_t>(n));
  }
}

}  // namespace nbdgw::net
