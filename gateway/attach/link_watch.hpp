#pragma once

#include <string>

#include "gateway/net/unique_fd.hpp"

namespace nbdgw::attach {

/// Our own hold on the socket that the kernel's driver talks over: tells when it is dead, and can end it where the
/// driver itself cannot. Nobody is woken for what the driver receives there, which a poller that asks for data would
/// be, once for each reply.
class LinkWatch {
 public:
  LinkWatch() = default;
  /// `socket`: the one that was given to the driver, or a copy.
  explicit LinkWatch(net::UniqueFd socket);

  bool is_there() const noexcept { return static_cast<bool>(socket_); }
  /// Of the socket.
  int native() const noexcept { return socket_.get(); }
  /// Readable when the socket is dead.
  int descriptor() const noexcept { return watch_.get(); }
  bool dead() const noexcept;
  /// Whatever the driver waits for there comes to its end; requests in flight wait for the next connection.
  void shut_down() const noexcept;

 private:
  net::UniqueFd socket_;
  net::UniqueFd watch_;  // an epoll of the socket alone, without any event but its death
};

}  // namespace nbdgw::attach
