#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <span>

#include "gateway/net/unique_fd.hpp"
#include "proto/time.hpp"

namespace nbdgw::net {

/// Whoever owns a file descriptor in a Poller.
class Watcher {
 public:
  /// `events` as of epoll_wait(2). Must not destroy any watcher: that is for the end of the turn.
  virtual void on_ready(std::uint32_t events, proto::Micros now) = 0;

 protected:
  ~Watcher() = default;
};

/// The descriptors that one thread waits for: an epoll set, level-triggered.
///
/// Why not an asio::io_context for the data sockets: it arms every wait anew. Asio 1.26 spends one epoll_ctl() on
/// each async_wait(), or one recv() that finds nothing on each async_read_some(); here a socket is registered once.
/// Measured with strace -c over TCP loopback, one request at a time and 300 us between them, 2000 requests (a request
/// is received once and answered once; epoll_wait + recvmsg + sendmsg + the rest):
///     async_wait + recvmsg     8009 calls = 4.0 a request   (2006 of them epoll_ctl)
///     async_read_some          7999 calls = 4.0 a request   (1997 of them recv -> EAGAIN)
///     a persistent epoll set   6002 calls = 3.0 a request
/// A request passes two sockets, so that is 6 system calls instead of 8. The gateway in front of tgt, four
/// connections, fio on one NBD connection, 4 KiB random reads, strace -c -f: at depth 1 a third each of epoll_wait,
/// recvmsg and sendmsg, 6 a request; at depth 32 0.7 a request in all; epoll_ctl appears only when a socket's buffer
/// is full. Level-triggered, because what one turn leaves unread for the sake of fairness is then simply reported
/// again.
class Poller {
 public:
  /// Events taken in by one turn; what is beyond comes with the next.
  static constexpr int kMaxEvents = 256;

  /// Throws std::system_error.
  Poller();

  /// False with errno set when the kernel refuses (memory, fs.epoll.max_user_watches).
  bool add(int fd, std::uint32_t events, Watcher& watcher) noexcept;
  void modify(int fd, std::uint32_t events, Watcher& watcher) noexcept;
  void remove(int fd) noexcept;

  /// Sleeps until something is ready or `timeout` microseconds have passed (kNever: no limit; rounded up to
  /// milliseconds). Returns the ready ones, valid until the next call.
  std::span<const epoll_event> wait(proto::Micros timeout) noexcept;

 private:
  UniqueFd epoll_;
  epoll_event events_[kMaxEvents];
};

}  // namespace nbdgw::net
