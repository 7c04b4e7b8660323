#include "gateway/net/portal_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "gateway/net/tcp_options.hpp"

namespace nbdgw::net {

namespace {

/// The peer's TCP has acknowledged all that we sent, and the end of it: its machine is there.
bool goodbye_has_arrived(int fd) noexcept {
  tcp_info info{};
  socklen_t length = sizeof info;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_FIN_WAIT2;
}

}  // namespace

void PortalSocket::connect(const std::string& host, std::uint16_t port, const std::string& first) {
  close();
  first_ = first;
  host_ = host;
  port_ = port;
  troubles_.clear();
  tried_ = 0;
  state_ = State::resolving;
  Address literal;
  if (parse_literal(host, port, literal)) on_resolved(attempt_, {literal}, {});
}

void PortalSocket::on_resolved(std::uint64_t attempt, std::vector<Address> addresses, const std::string& error) {
  if (attempt != attempt_ || state_ != State::resolving) return;
  if (addresses.empty()) {
    fail("cannot look up " + host_ + ": " + (error.empty() ? "it has no address" : error));
    return;
  }
  addresses_ = std::move(addresses);
  const auto wanted = std::ranges::find(addresses_, first_, [](const Address& address) { return address.text(); });
  if (wanted != addresses_.end()) rotation_ = static_cast<std::size_t>(wanted - addresses_.begin());
  try_next();
}

void PortalSocket::try_next() {
  while (tried_ < addresses_.size()) {
    const Address& address = addresses_[rotation_++ % addresses_.size()];
    ++tried_;
    if (try_address(address)) return;
  }
  fail(troubles_);
}

bool PortalSocket::try_address(const Address& address) {
  UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!fd) {
    note(address, errno);
    return false;
  }
  set_options_to_connect(fd.get(), address.get(), address.length);
  if (::connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) {
    note(address, errno);
    return false;
  }
  socket_ = StreamSocket(std::move(fd));
  if (!socket_.watch(poller_, EPOLLOUT, *this)) {
    note(address, socket_.error());
    socket_.close();
    return false;
  }
  state_ = State::connecting;
  return true;
}

void PortalSocket::note(const Address& address, int error) {
  if (!troubles_.empty()) troubles_ += "; ";
  troubles_ += address.text() + ": " + error_text(error);
}

void PortalSocket::close() noexcept {
  socket_.close();
  state_ = State::closed;
  failure_.clear();
  ++attempt_;
}

void PortalSocket::reset_at_close() noexcept {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_.native(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

bool PortalSocket::leave(bool patient, proto::Micros now) noexcept {
  if (state_ != State::connected || failed() || ::shutdown(socket_.native(), SHUT_WR) != 0) {
    if (socket_.is_open()) reset_at_close();
    close();
    return false;
  }
  state_ = State::leaving;
  peer_left_ = false;
  leave_check_ = now + kGoodbyeReached;
  leave_end_ = now + (patient ? kGoodbyeAnswered : kGoodbyeReached);
  socket_.expect(0);
  socket_.set_interest(EPOLLIN);
  return true;
}

bool PortalSocket::left(proto::Micros now) noexcept {
  if (peer_left_) return true;
  if (now < leave_check_) return false;
  if (now >= leave_end_ || !goodbye_has_arrived(socket_.native())) {
    reset_at_close();
    return true;
  }
  leave_check_ = leave_end_;
  return false;
}

void PortalSocket::on_ready(std::uint32_t events, proto::Micros now) {
  if (state_ == State::leaving) {
    peer_left_ = socket_.discard() != Transfer::done;
    if (!peer_left_) return;
  }
  if (state_ == State::connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket_.native(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0) {
      state_ = State::connected;
      address_ = addresses_[(rotation_ - 1) % addresses_.size()].text();
      set_tcp_options(socket_.native());
      socket_.set_interest(EPOLLIN);
    } else {
      note(addresses_[(rotation_ - 1) % addresses_.size()], error);
      socket_.close();
      try_next();
    }
  }
  owner_.on_portal_socket(*this, now);
}

}  // namespace nbdgw::net
