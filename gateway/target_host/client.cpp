#include "gateway/target_host/client.hpp"

#include <sys/socket.h>

#include "gateway/net/log.hpp"

namespace nbdgw::target_host {

TargetClient::TargetClient(iscsi_target::Server& server, net::UniqueFd fd, std::string local_address,
                           std::uint16_t portal, proto::Micros now)
    : socket_(std::move(fd)),
      peer_(net::peer_text(socket_.native())),
      engine_(server, std::move(local_address), now, portal) {
  net::log::debug({.client = peer_}, "target: {} connects", peer_);
}

void TargetClient::on_ready(std::uint32_t events, proto::Micros now) {
  if (still_ || is_over()) return;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    const net::Transfer result = socket_.receive(engine_, now);
    // An engine that does not want to read does not notice the end of the stream: the poller does.
    const bool hung_up = result == net::Transfer::engine_full && (events & (EPOLLHUP | EPOLLERR)) != 0;
    if (hung_up || result == net::Transfer::ended || result == net::Transfer::failed) {
      over_ = true;
      if (result == net::Transfer::failed) trouble_ = socket_.error_text();
      return;
    }
    log_progress();
  }
  if ((events & EPOLLOUT) != 0) pump(now);
}

void TargetClient::stand_still(bool on, net::Poller& poller) noexcept {
  if (on == still_) return;
  still_ = on;
  if (on)
    socket_.unwatch();
  else if (!watch(poller))
    over_ = true;
}

void TargetClient::pump(proto::Micros now) {
  if (still_ || is_over()) return;
  const net::Transfer result = socket_.send(engine_, now);
  if (result == net::Transfer::more) socket_.want_write(true);
  if (result == net::Transfer::failed) {
    over_ = true;
    trouble_ = socket_.error_text();
    return;
  }
  socket_.want_read(engine_.wants_to_read());
  if (engine_.wants_send_end()) ::shutdown(socket_.native(), SHUT_WR);
}

void TargetClient::log_progress() {
  if (logged_in_ || engine_.state() != iscsi_target::ConnectionState::full_feature) return;
  logged_in_ = true;
  net::log::info({.client = peer_}, "target: {} logged in: {}", peer_, engine_.describe());
}

void TargetClient::close(proto::Micros now) {
  const std::string who = engine_.describe();
  const std::string& reason = engine_.close_reason();
  if (!reason.empty()) {
    net::log::folded({"disconnected", net::log::kClientsAtOnce}, {.client = peer_}, net::log::Level::warn,
                     "target: {} ({}) is disconnected: {}", peer_, who, reason);
  } else if (!trouble_.empty()) {
    net::log::folded({"gone", net::log::kClientsAtOnce}, {.client = peer_}, net::log::Level::warn,
                     "target: {} ({}) is gone: {}", peer_, who, trouble_);
  } else if (logged_in_) {
    net::log::info({.client = peer_}, "target: {} has left", peer_);
  }
  // With a linger time of 0 close(2) sends a reset.
  const linger hard{.l_onoff = 1, .l_linger = 0};
  if (engine_.wants_reset()) ::setsockopt(socket_.native(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  engine_.on_disconnected(now);
  socket_.close();
}

}  // namespace nbdgw::target_host
