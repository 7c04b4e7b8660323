#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
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
  /// Bytes from the gateway, in order, in pieces of any size; gone when this returns. `more`: what was sent together
  /// with them, and has come with them, follows at once.
  virtual void on_bytes(Wire& wire, const Piece& bytes, bool more) = 0;
  /// The gateway sends no more (closed: it may still read), or the connection is no more (reset).
  virtual void on_end(Wire& wire, End how) = 0;

 protected:
  ~Peer() = default;
};

/// What is behind an address that the gateway connects to.
class Acceptor {
 public:
  enum class Answer : std::uint8_t { accept, refuse, silence };
  virtual Answer on_connect() = 0;
  /// After `accept`: who talks on it.
  virtual Peer& on_connected(Wire& wire) = 0;

 protected:
  ~Acceptor() = default;
};

/// A model's end of a connection. It belongs to the network; a model lets it go by close(), reset() or vanish(), or
/// by returning from on_end() with End::reset, and must not use it after that.
class Wire {
 public:
  /// Queues bytes for the gateway, without limit: whoever wants to push back looks at backlog().
  void send(Bytes bytes);
  /// All of them at once.
  void send(std::span<const Piece> pieces);
  /// Bytes that the gateway has not read yet.
  std::size_t backlog() const noexcept;
  /// While it is off, the model reads nothing: the gateway's bytes fill the room that there is, and then it waits.
  void read(bool on);
  /// No more comes from this side, but it reads on.
  void half_close();
  /// The same, and nobody is there to read: what the gateway still sends is answered by a reset.
  void close();
  /// Nothing works any more, for either side; what is on its way may be lost.
  void reset();
  /// The model's machine is gone without a word.
  void vanish();
  /// Both directions stand still, or go on. Nothing is lost.
  void stall(bool yes);
  std::uint64_t id() const noexcept;
  /// How it stands, for people.
  std::string state() const;

 private:
  friend class Network;
  Wire(Network& network, Socket& socket) noexcept : network_(network), socket_(socket) {}
  Network& network_;
  Socket& socket_;
};

/// What the system gives to the gateway: sockets, epoll, eventfd. The calls are those of the same name; the linker
/// sends the gateway's here (syscalls.cpp). They set errno and return -1 where the kernel would.
class Network {
 public:
  /// Numbers of our descriptors, beyond all that the process has for real.
  static constexpr int kFirstFd = 1 << 20;

  Network(Timeline& timeline, Random random);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  Timeline& timeline() noexcept { return timeline_; }
  static bool owns(int fd) noexcept { return fd >= kFirstFd; }

  // ---- the world ----

  /// Connections to that address ("10.1.0.1:3260") come to the acceptor, from now on; null: nobody listens there.
  void listen(const std::string& address, Acceptor* acceptor) { acceptors_[address] = acceptor; }
  /// Of connections that begin from now on.
  void set_habits(const LinkHabits& habits) noexcept { habits_ = habits; }
  /// A client's connection, accepted: the gateway's descriptor, and the client's end.
  struct Dialled {
    int fd;
    Wire* wire;
  };
  /// `room`: 0: as the habits have it.
  Dialled dial(Peer& peer, std::size_t room = 0);
  /// What a client's connection with that number is called by the gateway.
  static std::string client_name(std::uint64_t id);
  /// That poller of the gateway has something to tell.
  bool is_ready(int epoll_fd);
  /// Who is told that the gateway's system knows of the end of a client's connection: its number.
  void watch_ends(std::function<void(std::uint64_t)> watcher) { on_client_end_ = std::move(watcher); }
  /// The one that was made last.
  int last_epoll() const noexcept { return last_epoll_; }
  /// A client's host has died, TCP waits for an acknowledgement of it, and the gateway has not closed.
  bool holds_dead_hosts() const noexcept;
  /// That the gateway has not closed.
  std::size_t open_descriptors() const noexcept;

  // ---- the gateway ----

  int epoll_create();
  int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event);
  int epoll_wait(int epoll_fd, epoll_event* events, int most);
  int eventfd();
  int ring(int fd);
  int hush(int fd);
  int socket(int type);
  int connect(int fd, const sockaddr* address);
  int close(int fd);
  int shutdown_write(int fd);
  ssize_t receive(int fd, const iovec* buffers, std::size_t count);
  ssize_t discard(int fd, std::size_t most);
  ssize_t peek(int fd, const iovec* buffers, std::size_t count);
  ssize_t send(int fd, const iovec* buffers, std::size_t count);
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length);
  int setsockopt(int fd, int level, int name, const void* value);
  int name_of(int fd, bool of_peer, sockaddr* address, socklen_t* length);
  int unread(int fd);
  int unsent(int fd);
  int poll_writable(int fd);

 private:
  friend class Wire;
  Socket* find(int fd) noexcept;
  Socket* find_id(std::uint64_t id) noexcept;
  Socket& add(int kind);
  void on_syn(Socket& socket, const std::string& address);
  void connect_over(Socket& socket, int error);
  Micros arrival(Socket& socket, bool inwards);
  void plan_arrivals(Socket& socket, bool inwards, std::size_t bytes);
  void plan_pieces(Socket& socket, bool inwards, Micros when, std::size_t count);
  void on_arrival(Socket& socket, bool inwards, std::size_t bytes);
  void plan_owed(Socket& socket, bool inwards, std::size_t bytes);
  void plan_end(Socket& socket, bool inwards);
  void plan_delivery(Socket& socket);
  void plan_gateway_reset(Socket& socket, int error, Micros delay);
  void plan_model_reset(Socket& socket);
  void on_end_arrival(Socket& socket, bool inwards);
  void deliver(Socket& socket);
  void tell_of_end(const Socket& socket) const;
  void reset_gateway(Socket& socket, int error);
  void reset_model(Socket& socket);
  void changed(Socket& socket);
  void release(Socket& socket);
  void let_go_of_all(int epoll_fd, const std::vector<std::uint64_t>& listed);
  int collect(int epoll_fd, epoll_event* events, int most);
  std::uint32_t events_of(const Socket& socket) const noexcept;

  Timeline& timeline_;
  Random random_;
  LinkHabits habits_;
  std::map<std::string, Acceptor*> acceptors_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Socket>> all_;  // by id; also those that only a model holds
  std::vector<Socket*> by_fd_;                                      // the gateway's
  std::function<void(std::uint64_t)> on_client_end_;
  int last_epoll_ = -1;
  std::uint64_t next_id_ = 1;
};

}  // namespace nbdgw::sim
