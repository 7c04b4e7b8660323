#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"
#include "tests/unit/sockets.hpp"

namespace nbdgw::test {

/// A TCP port of this machine where connects get no answer: its queue is full, and the kernel drops what comes.
class Swallowing {
 public:
  Swallowing() {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    REQUIRE(::getsockname(listener_.fd.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    bool full = false;
    while (!full) {
      REQUIRE(queued_.size() < 16);
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      queued_.emplace_back(fd);
      ::connect(fd, reinterpret_cast<sockaddr*>(&address), length);
      pollfd connected{.fd = fd, .events = POLLOUT, .revents = 0};
      full = ::poll(&connected, 1, 100) == 0;
    }
  }

  std::uint16_t port() const noexcept { return listener_.port; }

 private:
  Listening listener_{0};
  std::vector<net::UniqueFd> queued_;
};

}  // namespace nbdgw::test
