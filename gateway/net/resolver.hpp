#pragma once

#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace nbdgw::net {

/// An address to connect to.
struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  std::string text() const;
};

/// A literal IPv4 or IPv6 address with a port. False if `host` is a name.
bool parse_literal(const std::string& host, std::uint16_t port, Address& address);

/// Looks up host names for the shards, on the control thread's io_context (which has a thread of its own for it, as
/// getaddrinfo() blocks).
class Resolver {
 public:
  using Done = std::function<void(std::vector<Address> addresses, std::string error)>;

  explicit Resolver(boost::asio::io_context& control) : control_(control) {}

  /// From any thread. `done` is called on the control thread; if that ends before, it is destroyed uncalled.
  void resolve(const std::string& host, std::uint16_t port, Done done);

 private:
  boost::asio::io_context& control_;
};

}  // namespace nbdgw::net
