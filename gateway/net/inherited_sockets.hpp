#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/model.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::net {

/// Where to listen.
struct ListeningPlace {
  config::Endpoint endpoint;  // tcp or unix_socket
  UniqueFd inherited;         // a socket that listened there before this program was started; none: one is to be made
};

/// What the service manager listens on for us (socket activation, sd_listen_fds(3)), by the names of the sockets. It
/// goes on listening while we are away, so that a restart refuses nobody.
class InheritedSockets {
 public:
  using Named = std::pair<std::string, UniqueFd>;
  InheritedSockets() = default;
  explicit InheritedSockets(std::vector<Named> sockets) noexcept : sockets_(std::move(sockets)) {}

  /// What an address of the configuration stands for: itself, or, "systemd:NAME", all sockets of that name, each of
  /// which can be taken once. Throws ListenError if there is none, or one of them is no socket that clients can be
  /// accepted from.
  std::vector<ListeningPlace> places(const config::Endpoint& wanted);
  /// Throws ListenError if some have been taken by nobody: their clients would wait for ever.
  void check_all_taken() const;

 private:
  std::vector<Named> sockets_;
};

}  // namespace nbdgw::net
