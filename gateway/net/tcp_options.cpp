#include "gateway/net/tcp_options.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "gateway/net/unique_fd.hpp"

namespace nbdgw::net {
namespace {

/// The address without the port; an IPv4 address that is mapped into IPv6 stays what it is. Empty: none.
std::span<const std::uint8_t> bytes_of(const sockaddr* address) noexcept {
  if (address->sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
    return {reinterpret_cast<const std::uint8_t*>(&v4), sizeof v4};
  }
  if (address->sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    return {reinterpret_cast<const std::uint8_t*>(&v6), sizeof v6};
  }
  return {};
}

bool is_loopback(const sockaddr* address) noexcept {
  const auto bytes = bytes_of(address);
  if (address->sa_family == AF_INET6) return std::ranges::equal(bytes, in6addr_loopback.s6_addr);
  return !bytes.empty() && bytes.front() == IN_LOOPBACKNET;
}

/// One end of a socket, as getsockname(2) or getpeername(2) tells it.
struct End {
  sockaddr_storage storage{};
  bool known;

  End(int fd, decltype(::getsockname)& ask) noexcept {
    socklen_t length = sizeof storage;
    known = ask(fd, reinterpret_cast<sockaddr*>(&storage), &length) == 0;
  }
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Whether the bytes of the connection never leave this machine: a client beside a sidecar, mostly.
bool stays_here(int fd) noexcept {
  const End here(fd, ::getsockname), there(fd, ::getpeername);
  if (!here.known || !there.known) return false;
  return is_loopback(here.get()) ||
         (!bytes_of(here.get()).empty() && std::ranges::equal(bytes_of(here.get()), bytes_of(there.get())));
}

/// Whether connections to that address will stay on this machine: the kernel's routes say so to a socket of
/// datagrams, which sends nothing when it connects.
bool is_here(const sockaddr* address, socklen_t length) noexcept {
  const UniqueFd probe(::socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return probe && ::connect(probe.get(), address, length) == 0 && stays_here(probe.get());
}

void stop_pacing(int fd) noexcept {
  constexpr std::string_view kUnpaced = "reno";
  ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kUnpaced.data(), kUnpaced.size());
}

}  // namespace

void set_options_to_connect(int fd, const sockaddr* peer, socklen_t length) noexcept {
  if (is_here(peer, length)) stop_pacing(fd);
}

void set_options_to_listen(int fd) noexcept {
  const End here(fd, ::getsockname);
  if (here.known && is_loopback(here.get())) stop_pacing(fd);
}

void set_tcp_options(int fd) noexcept {
  const int on = 1;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return;  // no TCP socket
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kKeepAliveIdleS, sizeof kKeepAliveIdleS);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kKeepAliveIntervalS, sizeof kKeepAliveIntervalS);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &kKeepAliveProbes, sizeof kKeepAliveProbes);
  if (stays_here(fd)) stop_pacing(fd);
}

}  // namespace nbdgw::net
