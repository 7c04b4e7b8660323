#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/model.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::net {

/// A socket that listened before this program was started.
struct InheritedSocket {
  config::Endpoint endpoint;  // what it is bound to: tcp or unix_socket
  UniqueFd fd;
};

/// What the service manager listens on for us (socket activation, sd_listen_fds(3)), by the names of the sockets. It
/// goes on listening while we are away, so that a restart refuses nobody.
class InheritedSockets {
 public:
  using Named = std::pair<std::string, UniqueFd>;
  InheritedSockets() = default;
  explicit InheritedSockets(std::vector<Named> sockets) noexcept : sockets_(std::move(sockets)) {}

  /// All of that name, each of which can be taken once. Throws ListenError if there is none, or one of them is no
  /// socket that clients can be accepted from.
  std::vector<InheritedSocket> take(const config::Endpoint& wanted);
  /// Throws ListenError if some have been taken by nobody: their clients would wait for ever.
  void check_all_taken() const;

 private:
  std::vector<Named> sockets_;
};

}  // namespace nbdgw::net
