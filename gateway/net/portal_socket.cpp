#include "gateway/net/portal_socket.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace nbdgw::net {

void PortalSocket::connect(const std::string& host, std::uint16_t port) {
  close();
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

void PortalSocket::on_ready(std::uint32_t events, proto::Micros now) {
  if (state_ == State::connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket_.native(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0) {
      state_ = State::connected;
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
