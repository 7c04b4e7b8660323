#pragma once

#include <string>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::target_host {

/// An initiator's TCP connection to the embedded target: a socket and the engine that speaks on it.
class TargetClient final : public net::Watcher {
 public:
  TargetClient(iscsi_target::Server& server, net::UniqueFd fd, std::string local_address, std::uint16_t portal,
               proto::Micros now);

  /// False when the kernel refuses.
  bool watch(net::Poller& poller) noexcept { return socket_.watch(poller, EPOLLIN, *this); }
  void on_ready(std::uint32_t events, proto::Micros now) override;

  /// While it stands still nothing that happens to the socket is noticed.
  void stand_still(bool on, net::Poller& poller) noexcept;
  /// Sends what there is. Afterwards is_over() may be true.
  void pump(proto::Micros now);
  /// The socket is gone, or the engine is done with it.
  bool is_over() const noexcept { return !still_ && (over_ || engine_.wants_close()); }
  /// Lets go of the socket and ends the engine's part.
  void close(proto::Micros now);

  iscsi_target::Connection& engine() noexcept { return engine_; }
  /// "192.0.2.1:4711"
  const std::string& peer() const noexcept { return peer_; }

 private:
  void log_progress();

  net::StreamSocket socket_;
  std::string peer_;
  iscsi_target::Connection engine_;
  bool still_ = false;
  bool over_ = false;
  std::string trouble_;  // of the socket
  bool logged_in_ = false;
};

}  // namespace nbdgw::target_host
