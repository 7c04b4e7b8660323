#include "gateway/net/stream_socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <system_error>
#include <vector>

#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::net {

bool StreamSocket::watch(Poller& poller, std::uint32_t events, Watcher& watcher) noexcept {
  NBDGW_ASSERT(poller_ == nullptr, "a socket is in one poller");
  if (!poller.add(fd_.get(), events, watcher)) {
    error_ = errno;
    return false;
  }
  poller_ = &poller;
  watcher_ = &watcher;
  events_ = events;
  return true;
}

void StreamSocket::unwatch() noexcept {
  if (poller_ == nullptr) return;
  poller_->remove(fd_.get());
  poller_ = nullptr;
  watcher_ = nullptr;
  events_ = 0;
}

void StreamSocket::set_interest(std::uint32_t events) noexcept {
  if (events == events_ || poller_ == nullptr) return;
  poller_->modify(fd_.get(), events, *watcher_);
  events_ = events;
}

void StreamSocket::expect(std::size_t bytes) noexcept {
  if (bytes < kMinLowWater && NBDGW_MUTANT(low_water_stays)) return;
  const int wanted = bytes < kMinLowWater ? 1 : static_cast<int>(std::min(bytes, kMaxLowWater));
  if (wanted == low_water_) return;
  low_water_ = wanted;
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVLOWAT, &wanted, sizeof wanted);
}

UniqueFd StreamSocket::take_fd() noexcept {
  unwatch();
  // Else the next owner is not woken for less than the payload that was waited for here last.
  if (fd_ && !NBDGW_MUTANT(low_water_goes_along)) expect(0);
  return std::move(fd_);
}

void StreamSocket::close() noexcept {
  unwatch();
  fd_.reset();
}

std::string StreamSocket::error_text() const {
  return net::error_text(error_);
}

ssize_t StreamSocket::read_some(iovec* buffers, std::size_t count) noexcept {
  msghdr message{};
  message.msg_iov = buffers;
  message.msg_iovlen = count;
  for (;;) {
    const ssize_t n = ::recvmsg(fd_.get(), &message, 0);
    if (n >= 0) return n;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return kWouldBlock;
    error_ = errno;
    return -1;
  }
}

std::size_t StreamSocket::peek_last(std::span<std::uint8_t> last, std::size_t& unread) noexcept {
  int there = 0;
  unread = 0;
  if (::ioctl(fd_.get(), FIONREAD, &there) != 0 || there <= 0) return 0;
  unread = static_cast<std::size_t>(there);
  const std::size_t shown = std::min(last.size(), unread);
  // All before goes to one place, again and again.
  std::array<std::uint8_t, 64 * 1024> nowhere;
  std::vector<iovec> buffers;
  for (std::size_t before = unread - shown; before > 0; before -= buffers.back().iov_len)
    buffers.push_back({nowhere.data(), std::min(before, nowhere.size())});
  buffers.push_back({last.data(), shown});
  if (buffers.size() > IOV_MAX) return 0;
  msghdr message{};
  message.msg_iov = buffers.data();
  message.msg_iovlen = buffers.size();
  return ::recvmsg(fd_.get(), &message, MSG_PEEK | MSG_DONTWAIT) == there ? shown : 0;
}

Transfer StreamSocket::discard() noexcept {
  // TCP copies nothing for MSG_TRUNC without a buffer.
  const ssize_t n = ::recv(fd_.get(), nullptr, kRxBytesPerTurn, MSG_TRUNC);
  if (n > 0) return Transfer::done;
  if (n == 0) return Transfer::ended;
  if (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK) return Transfer::done;
  error_ = errno;
  return Transfer::failed;
}

ssize_t StreamSocket::write_some(iovec* buffers, std::size_t count) noexcept {
  msghdr message{};
  message.msg_iov = buffers;
  message.msg_iovlen = count;
  for (;;) {
    const ssize_t n = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (n >= 0) return n;
    if (errno == EINTR) continue;
    // ENOBUFS: the kernel is short of memory for now; the wait for EPOLLOUT ends when it is not.
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return kWouldBlock;
    error_ = errno;
    return -1;
  }
}

std::string address_text(const sockaddr* address, socklen_t length) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  }
  if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
  }
  if (address->sa_family == AF_UNIX && length > offsetof(sockaddr_un, sun_path)) {
    return reinterpret_cast<const sockaddr_un*>(address)->sun_path;
  }
  return "unknown address";
}

std::string peer_text(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "a client that has left already";
  if (address.ss_family != AF_UNIX) return address_text(reinterpret_cast<sockaddr*>(&address), length);
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return "unix";
  return "unix, pid " + std::to_string(who.pid) + ", uid " + std::to_string(who.uid);
}

std::string error_text(int error) {
  return std::system_category().message(error);
}

}  // namespace nbdgw::net
