#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/sim/pipe.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

class Network;
class Wire;
struct Socket;

/// Why no more bytes will come.
enum class End : std::uint8_t {
  closed,  // after all that was sent (FIN)
  reset,   // at once; bytes may be lost
};

/// A model at the far end of a connection of the gateway: a target or a client. It is called from the timeline, never
/// in the middle of a call of its own.
class Peer {
 public:
  /// Bytes from the gateway, in order, in pieces of any size; gone when this returns.
  virtual void on_bytes(Wire& wire, std::span<const std::uint8_t> bytes) = 0;
  /// The gateway sends no more (closed: it may still read), or the connection is no more (reset).
  virtual void on_end(Wire& wire, End how) = 0;

 protected:
  ~Peer() = default;
};

/// What is behind the addresses that the gateway connects to.
class Acceptor {
 public:
  enum class Answer : std::uint8_t { accept, refuse, silence };
  virtual Answer on_connect() = 0;
  /// After `accept`: who talks on it.
  virtual Peer& on_connected(Wire& wire) = 0;

 protected:
  ~Acceptor() = default;
};

/// A model's end of a connection. It belongs to the network and is there until both sides have let it go: a model
/// does so by close(), reset() or vanish(), and must not use it after that, nor after on_end() with End::reset.
class Wire {
 public:
  /// Queues bytes for the gateway, without limit: whoever wants to push back looks at backlog().
  void send(std::span<const std::uint8_t> bytes);
  void send(std::vector<std::uint8_t> bytes);
  /// Bytes that the gateway has not read yet.
  std::size_t backlog() const noexcept;
  /// While it is off, the model reads nothing: the gateway's bytes fill the room that there is, and then it waits.
  void read(bool on);
  /// No more from this side; the gateway reads all that was sent before. What it still sends is thrown away.
  void close();
  /// Nothing works any more, for either side; what is on its way may be lost.
  void reset();
  /// The model's machine is gone without a word.
  void vanish();
  /// Both directions stand still, or go on. Nothing is lost.
  void stall(bool yes);
  std::uint64_t id() const noexcept;

 private:
  friend class Network;
  explicit Wire(Network& network, Socket& socket) : network_(network), socket_(socket) {}
  Network& network_;
  Socket& socket_;
};

/// What the system gives to the gateway: sockets, epoll, eventfd. The calls below are those of the same name; the
/// linker sends the gateway's here (syscalls.cpp). They set errno and return -1 where the kernel would.
class Network {
 public:
  /// Numbers of our descriptors, beyond all that the process has for real.
  static constexpr int kFirstFd = 1 << 20;

  Network(Timeline& timeline, Random random) : timeline_(timeline), random_(random) {}
  ~Network();

  Timeline& timeline() noexcept { return timeline_; }

  // ---- the world ----

  /// Connections to that address ("10.1.0.1:3260") come to the acceptor, from now on; null: nobody listens there.
  void listen(const std::string& address, Acceptor* acceptor) { acceptors_[address] = acceptor; }
  /// Of connections that begin from now on.
  void set_habits(const LinkHabits& habits) noexcept { habits_ = habits; }
  /// A client's connection, accepted. Returns the gateway's descriptor.
  int dial(Peer& peer, Wire*& wire);
  /// A poller of the gateway has something to tell.
  bool is_ready(int epoll_fd);
  /// The last that was made.
  int last_epoll() const noexcept { return last_epoll_; }
  /// Descriptors that the gateway has not closed.
  std::size_t open_descriptors() const noexcept { return sockets_.size(); }

  // ---- the gateway ----

  int epoll_create();
  int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event* event);
  int epoll_wait(int epoll_fd, struct epoll_event* events, int most);
  int eventfd();
  int socket(int type);
  int connect(int fd, const sockaddr* address, socklen_t length);
  int close(int fd);
  int shutdown_write(int fd);
  ssize_t receive(int fd, const iovec* buffers, std::size_t count);
  ssize_t discard(int fd, std::size_t most);
  ssize_t send(int fd, const iovec* buffers, std::size_t count);
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length);
  int setsockopt(int fd, int level, int name, const void* value, socklen_t length);
  int name_of(int fd, bool peer, sockaddr* address, socklen_t* length);
  int unread(int fd) const;
  int unsent(int fd) const;
  int poll_writable(int fd);
  int ring(int fd);
  int hush(int fd);

 private:
  friend class Wire;
  struct PollSet;

  Socket* find(int fd) noexcept;
  Socket& add(int kind);
  void settle_connect(int fd);
  void move(Socket& socket, bool to_gateway);
  void deliver(Socket& socket);
  void tell_end(Socket& socket);
  void gateway_sees(Socket& socket);
  void end_by_reset(Socket& socket, bool by_gateway);
  void forget_if_over(std::uint64_t id);
  std::uint32_t events_of(const Socket& socket) const noexcept;

  Timeline& timeline_;
  Random random_;
  LinkHabits habits_;
  std::map<std::string, Acceptor*> acceptors_;
  std::map<std::uint64_t, std::unique_ptr<Socket>> all_;  // by id, also those that only a model still holds
  std::map<int, Socket*> sockets_;                        // by the gateway's descriptor
  std::map<int, std::unique_ptr<PollSet>> poll_sets_;
  int next_fd_ = kFirstFd;
  int last_epoll_ = -1;
  std::uint64_t next_id_ = 1;
};

}  // namespace nbdgw::sim
