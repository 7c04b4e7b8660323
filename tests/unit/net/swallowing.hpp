#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"

namespace nbdgw::test {

/// A TCP port of this machine where connects get no answer: its queue is full, and the kernel drops what comes.
class Swallowing {
 public:
  Swallowing() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(::listen(listener_.get(), 0) == 0);
    REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    port_ = ntohs(address.sin_port);
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

  std::uint16_t port() const noexcept { return port_; }

 private:
  net::UniqueFd listener_;
  std::vector<net::UniqueFd> queued_;
  std::uint16_t port_ = 0;
};

}  // namespace nbdgw::test
