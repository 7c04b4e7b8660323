#include "gateway/shard/portal_socket.hpp"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "gateway/net/tcp_options.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::shard {

namespace {

/// The peer's TCP has acknowledged all that we sent, and the end of it: its machine is there.
bool goodbye_has_arrived(int fd) noexcept {
  tcp_info info{};
  socklen_t length = sizeof info;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_FIN_WAIT2;
}

void set_reset_at_close(int fd, bool yes) noexcept {
  const linger at_once{.l_onoff = yes ? 1 : 0, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

bool nothing_unacknowledged(int fd) noexcept {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes == 0;
}

/// What a connect has come to: 0, an errno, or nothing yet.
std::optional<int> connect_result(int fd) noexcept {
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 0) <= 0) return std::nullopt;
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

}  // namespace

void PortalSocket::connect(std::vector<initiator::Portal> portals, proto::Micros now, const std::string& first) {
  NBDGW_ASSERT(!portals.empty(), "there is a portal to connect to");
  close();
  portals_ = std::move(portals);
  begun_ = 0;
  first_ = first;
  troubles_.clear();
  racing_ = false;
  state_ = State::connecting;
  look_at(portals_[begun_++]);
  begin_next(now);
}

void PortalSocket::look_at(const initiator::Portal& portal) {
  net::Address literal;
  if (net::parse_literal(portal.host, portal.port, literal)) return add_addresses(portal, {literal});
  lookups_.push_back({.host = portal.host, .port = portal.port, .attempt = attempt_});
  ++awaited_;
}

std::optional<PortalSocket::Lookup> PortalSocket::take_lookup() {
  if (lookups_.empty()) return std::nullopt;
  Lookup lookup = std::move(lookups_.front());
  lookups_.erase(lookups_.begin());
  return lookup;
}

void PortalSocket::on_resolved(const Lookup& lookup, const std::vector<net::Address>& addresses,
                               const std::string& error, proto::Micros now) {
  if (lookup.attempt != attempt_ || state_ != State::connecting) return;
  --awaited_;
  if (addresses.empty()) note("cannot look up " + lookup.host + ": " + (error.empty() ? "it has no address" : error));
  add_addresses({.host = lookup.host, .port = lookup.port}, addresses);
  begin_next(now);
}

void PortalSocket::add_addresses(const initiator::Portal& portal, const std::vector<net::Address>& addresses) {
  const auto wanted =
      std::ranges::find(addresses, first_, [](const net::Address& address) { return address.text(); });
  if (wanted != addresses.end() && portal == portals_.front()) {
    rotation_ = static_cast<std::size_t>(wanted - addresses.begin());
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    waiting_.push_back({.portal = portal, .address = addresses[(rotation_ + i) % addresses.size()]});
  }
}

/// The next address of the portals whose turn it is, or, once the first has had its time, of the next portal.
void PortalSocket::begin_next(proto::Micros now) {
  bool begun = false;
  while (!begun) {
    if (!waiting_.empty()) {
      begun = begin(std::move(waiting_.front()));
      waiting_.pop_front();
    } else if (racing_ && begun_ < portals_.size()) {
      look_at(portals_[begun_++]);
      if (waiting_.empty()) break;  // for its name is looked up
    } else {
      break;
    }
  }
  const bool more = !waiting_.empty() || begun_ < portals_.size();
  next_attempt_at_ = more ? now + kAttemptDelay : proto::kNever;
  if (under_way_.empty() && awaited_ == 0) fail(troubles_);
}

void PortalSocket::make_room() {
  if (under_way_.size() < kMaxAttempts) return;
  note(under_way_.front().address.text() + ": no answer");
  under_way_.front().socket.close();
  under_way_.erase(under_way_.begin());
}

/// False: it has failed already.
bool PortalSocket::begin(Attempt attempt) {
  ++rotation_;
  make_room();
  const net::Address& address = attempt.address;
  net::UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!fd) {
    note(address.text() + ": " + net::error_text(errno));
    return false;
  }
  net::set_options_to_connect(fd.get(), address.get(), address.length);
  if (::connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) {
    note(address.text() + ": " + net::error_text(errno));
    return false;
  }
  attempt.socket = net::StreamSocket(std::move(fd));
  if (!attempt.socket.watch(poller_, EPOLLOUT, *this)) {
    note(address.text() + ": " + attempt.socket.error_text());
    return false;
  }
  under_way_.push_back(std::move(attempt));
  return true;
}

/// All of them have one watcher, which may not be destroyed while events are handed out: so each is asked.
void PortalSocket::settle(proto::Micros now) {
  bool lost_one = false;
  for (std::size_t i = 0; i < under_way_.size();) {
    Attempt& attempt = under_way_[i];
    const std::optional<int> error = connect_result(attempt.socket.native());
    if (error == 0) return win(attempt);
    if (!error) {
      ++i;
      continue;
    }
    note(attempt.address.text() + ": " + net::error_text(*error));
    attempt.socket.close();
    under_way_.erase(under_way_.begin() + static_cast<std::ptrdiff_t>(i));
    lost_one = true;
  }
  if (lost_one) begin_next(now);
}

void PortalSocket::win(Attempt& attempt) {
  socket_ = std::move(attempt.socket);
  attempt.socket = {};
  portal_ = attempt.portal;
  address_ = attempt.address.text();
  drop_attempts();
  state_ = State::connected;
  net::set_tcp_options(socket_.native());
  // What ends it, be it the end of this process, takes along what has not arrived: another session, of another
  // process, too, may have written there when it would.
  if (!NBDGW_MUTANT(old_socket_closed_softly)) set_reset_at_close(socket_.native(), true);
  socket_.set_interest(EPOLLIN);
}

void PortalSocket::drop_attempts() noexcept {
  for (Attempt& attempt : under_way_) attempt.socket.close();
  under_way_.clear();
  waiting_.clear();
  lookups_.clear();
  awaited_ = 0;
  next_attempt_at_ = proto::kNever;
}

void PortalSocket::on_deadline(proto::Micros now) {
  if (state_ != State::connecting || failed() || now < next_attempt_at_) return;
  racing_ = racing_ || (waiting_.empty() && !NBDGW_MUTANT(silent_portal_alone));
  begin_next(now);
}

void PortalSocket::note(const std::string& trouble) {
  if (!troubles_.empty()) troubles_ += "; ";
  troubles_ += trouble;
}

void PortalSocket::close() noexcept {
  socket_.close();
  drop_attempts();
  state_ = State::closed;
  failure_.clear();
  ++attempt_;
}

void PortalSocket::close_at_the_end() noexcept {
  if (state_ == State::leaving && all_has_arrived_) set_reset_at_close(socket_.native(), false);
  close();
}

bool PortalSocket::leave(bool patient, proto::Micros now) noexcept {
  all_has_arrived_ = state_ == State::connected && nothing_unacknowledged(socket_.native());
  if (state_ != State::connected || failed() || ::shutdown(socket_.native(), SHUT_WR) != 0) {
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
  if (now >= leave_end_ || !goodbye_has_arrived(socket_.native())) return true;
  leave_check_ = leave_end_;
  return false;
}

void PortalSocket::on_ready(std::uint32_t events, proto::Micros now) {
  if (state_ == State::leaving) {
    peer_left_ = socket_.discard() != net::Transfer::done;
    if (!peer_left_) return;
  }
  if (state_ == State::connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) settle(now);
  owner_.on_portal_socket(*this, now);
}

}  // namespace nbdgw::shard
