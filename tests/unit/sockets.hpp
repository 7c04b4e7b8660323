#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <cstring>
#include <string>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"

namespace nbdgw::test {

/// Binds a TCP socket to a free port of 127.0.0.1 and returns the port.
inline std::uint16_t bind_loopback(int fd) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), length);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

/// A TCP socket that listens on a free port of 127.0.0.1.
struct Listening {
  explicit Listening(int backlog)
      : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), port(bind_loopback(fd.get())) {
    REQUIRE(port != 0);
    REQUIRE(::listen(fd.get(), backlog) == 0);
  }
  net::UniqueFd accept() const { return net::UniqueFd(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

  net::UniqueFd fd;
  std::uint16_t port;
};

/// Connects to 127.0.0.1:port; an empty descriptor when that fails.
inline net::UniqueFd connect_tcp(std::uint16_t port) {
  net::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

/// The same for a UNIX socket.
inline net::UniqueFd connect_unix(const std::string& path) {
  net::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

}  // namespace nbdgw::test
