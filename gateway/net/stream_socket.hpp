#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "gateway/net/poller.hpp"
#include "gateway/net/unique_fd.hpp"
#include "proto/engine.hpp"
#include "proto/time.hpp"

namespace nbdgw::net {

/// Bounds of what one socket may do in one turn, so that the others of the shard get theirs.
inline constexpr std::size_t kRxBytesPerTurn = 4 * 1024 * 1024;
inline constexpr std::size_t kTxBytesPerTurn = 8 * 1024 * 1024;

/// A socket waits for a whole payload rather than for the next bytes of it from the first size on, and for no more
/// than the second: work on a part begins when that part is there.
inline constexpr std::size_t kMinLowWater = 128 * 1024;
inline constexpr std::size_t kMaxLowWater = 1024 * 1024;

/// What became of a receive or a send.
enum class Transfer : std::uint8_t {
  done,         // nothing more to receive, or to send, for now
  more,         // the turn's share is used up; go on in the next
  engine_full,  // receive only: the engine wants no bytes now
  ended,        // receive only: the peer has closed its side
  failed,       // the connection is gone; error() says why
};

/// A connected, non-blocking stream socket on a shard, and the loops that move bytes between it and an engine
/// (proto/engine.hpp).
class StreamSocket {
 public:
  StreamSocket() = default;
  explicit StreamSocket(UniqueFd fd) noexcept : fd_(std::move(fd)) {}

  bool is_open() const noexcept { return static_cast<bool>(fd_); }
  int native() const noexcept { return fd_.get(); }
  const UniqueFd& fd() const noexcept { return fd_; }
  /// The descriptor goes to somebody else, who knows nothing of what was expected of it here.
  UniqueFd take_fd() noexcept;

  /// Puts the socket into a shard's poller. False with error() set when the kernel refuses.
  bool watch(Poller& poller, std::uint32_t events, Watcher& watcher) noexcept;
  /// Takes it out again, to move it to another shard, or as its end needs no telling any more.
  void unwatch() noexcept;
  bool is_watched() const noexcept { return poller_ != nullptr; }
  /// Changes what is waited for; no system call when nothing changes.
  void set_interest(std::uint32_t events) noexcept;
  /// `end`: the end of what the peer sends is told (EPOLLRDHUP), also while other bytes lie unread before it.
  void want_read(bool on, bool end = false) noexcept {
    constexpr std::uint32_t kBoth = EPOLLIN | EPOLLRDHUP;
    set_interest((events_ & ~kBoth) | (on ? EPOLLIN : 0U) | (end ? EPOLLRDHUP : 0U));
  }
  void want_write(bool on) noexcept { set_interest(on ? events_ | EPOLLOUT : events_ & ~std::uint32_t{EPOLLOUT}); }
  bool wants_read() const noexcept { return (events_ & EPOLLIN) != 0; }
  bool wants_write() const noexcept { return (events_ & EPOLLOUT) != 0; }

  /// So many bytes are certain to follow: the kernel need not wake us for fewer of them. Without this a payload of
  /// 1 MiB comes in many small receives. Changing it is a system call, so only large payloads count.
  void expect(std::size_t bytes) noexcept;

  void close() noexcept;

  /// The errno of the last failure.
  int error() const noexcept { return error_; }
  std::string error_text() const;

  /// Receives until the socket has no more, the engine takes no more, or the turn's share is used up. A receive that
  /// does not fill what the engine offered has emptied the socket, so none follows it.
  template <proto::ReceivingEngine Engine>
  Transfer receive(Engine& engine, proto::Micros now) {
    std::size_t total = 0;
    while (total < kRxBytesPerTurn) {
      iovec buffers[proto::kRxIovecs];
      const std::size_t count = engine.rx_buffers(buffers);
      if (count == 0) return Transfer::engine_full;
      std::size_t offered = 0;
      for (std::size_t i = 0; i < count; ++i) offered += buffers[i].iov_len;
      const ssize_t n = read_some(buffers, count);
      if (n == kWouldBlock) return Transfer::done;
      if (n == 0) return Transfer::ended;
      if (n < 0) return Transfer::failed;
      engine.on_received(static_cast<std::size_t>(n), now);
      total += static_cast<std::size_t>(n);
      if (static_cast<std::size_t>(n) < offered) return Transfer::done;
    }
    return Transfer::more;
  }

  /// The last of the `unread` bytes that lie in the socket, which stay there. Returns how many it shows, 0 also where
  /// it cannot tell. Touches them all, so it is for the end of a stream.
  std::size_t peek_last(std::span<std::uint8_t> last, std::size_t& unread) noexcept;

  /// Receives up to a turn's share and throws it away: `done` (there may be more), `ended` or `failed`.
  Transfer discard() noexcept;

  /// Sends what the engine has, gathered. When the socket takes no more, waits for it to become writable (EPOLLOUT).
  template <proto::SendingEngine Engine>
  Transfer send(Engine& engine, proto::Micros now) {
    std::size_t total = 0;
    while (total < kTxBytesPerTurn) {
      iovec buffers[proto::kTxIovecs];
      const std::size_t count = engine.tx_buffers(buffers);
      if (count == 0) {
        want_write(false);
        return Transfer::done;
      }
      std::size_t offered = 0;
      for (std::size_t i = 0; i < count; ++i) offered += buffers[i].iov_len;
      const ssize_t n = write_some(buffers, count);
      if (n < 0 && n != kWouldBlock) return Transfer::failed;
      const std::size_t sent = n > 0 ? static_cast<std::size_t>(n) : 0;
      if (sent > 0) engine.on_sent(sent, now);
      total += sent;
      if (sent < offered) {
        want_write(true);
        return Transfer::done;
      }
    }
    return Transfer::more;
  }

 private:
  static constexpr ssize_t kWouldBlock = -2;

  /// Bytes moved, kWouldBlock, or -1 with error() set; read_some(): 0 at the end of the stream.
  ssize_t read_some(iovec* buffers, std::size_t count) noexcept;
  ssize_t write_some(iovec* buffers, std::size_t count) noexcept;

  UniqueFd fd_;
  Poller* poller_ = nullptr;
  Watcher* watcher_ = nullptr;
  std::uint32_t events_ = 0;
  int low_water_ = 1;
  int error_ = 0;
};

/// The peer for log lines: "192.0.2.1:4711", "[2001:db8::1]:4711", or for a UNIX socket "unix, pid 17, uid 0".
std::string peer_text(int fd);

/// "192.0.2.1:4711", "[2001:db8::1]:4711" or the path of a UNIX socket.
std::string address_text(const sockaddr* address, socklen_t length);

/// strerror() that is safe with threads.
std::string error_text(int error);

}  // namespace nbdgw::net
