#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "config/model.hpp"
#include "gateway/net/connection_limit.hpp"
#include "gateway/net/unique_fd.hpp"
#include "proto/time.hpp"

struct sockaddr_un;

namespace nbdgw::net {

/// Clients that are accepted before other listeners get their turn.
inline constexpr int kAcceptsPerTurn = 64;
/// How long a listener pauses when the system has no descriptor or memory for another client.
inline constexpr proto::Micros kAcceptPause = proto::kSecond;
/// A refusal of clients is logged this often at most.
inline constexpr proto::Micros kAcceptLogInterval = 60 * proto::kSecond;
/// Access to a UNIX socket: owner and group.
inline constexpr mode_t kUnixSocketMode = 0660;

/// Why the gateway cannot start: names the listener, says what to do. For people.
class ListenError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Told what becomes of a listener, on the control thread.
class ListenerObserver {
 public:
  enum class News : std::uint8_t {
    open,
    closed,
    failing,  // it cannot accept clients
    back,     // it can again
  };
  /// `lasting`: of `back`, how long it could not.
  virtual void on_listener(News news, const std::string& text, proto::Micros lasting) = 0;
  /// A client was sent away, as there are as many as may be; `lowered`: as the limit of open files allows.
  virtual void on_sent_away(bool lowered, const std::string& peer, proto::Micros now) = 0;

 protected:
  ~ListenerObserver() = default;
};

/// What differs between the listeners of different servers: how the keys are called that messages point to, and how
/// many clients are accepted before others get their turn.
struct ListenerSettings {
  const char* address = "listen.nbd";
  const char* limit = "limits.connections";
  int accepts_per_turn = kAcceptsPerTurn;
  ListenerObserver* observer = nullptr;  // null: the log alone is told
};

struct ListenerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t over_limit = 0;  // accepted and closed at once: limits.connections
  std::uint64_t out_of_fds = 0;  // pauses for want of descriptors or memory
};

/// One socket that clients connect to. Lives on the control thread.
class Listener {
 public:
  /// Gets the clients, on the control thread.
  using OnClient = std::function<void(UniqueFd fd, ConnectionLimit::Ticket ticket)>;

  /// Binds and listens, or takes what listens there already; nothing is accepted before start(). Throws ListenError.
  Listener(boost::asio::io_context& control, const config::Endpoint& endpoint, ConnectionLimit& limit,
           OnClient on_client, ListenerSettings settings = {}, UniqueFd inherited = {});
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void start();
  /// Closes the socket; a UNIX socket's file is removed if it is still ours, which an inherited one's never was.
  void stop();

  /// Where it listens, with the port that the system picked if the configuration says 0: "tcp://..." or "unix://...".
  const std::string& address() const noexcept { return address_; }
  std::uint16_t port() const noexcept { return port_; }
  const ListenerCounters& counters() const noexcept { return counters_; }

 private:
  void listen_tcp(const config::Endpoint& endpoint);
  void listen_unix(const config::Endpoint& endpoint);
  void take(const config::Endpoint& endpoint, UniqueFd inherited);
  std::string advice(int error) const;
  void remove_stale(const config::Endpoint& endpoint, const sockaddr_un& address) const;
  void wait();
  void accept_some();
  void pause(int error);
  void over_limit(int fd);
  void accepts_again();
  bool may_log(proto::Micros now);

  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer timer_;
  ConnectionLimit& limit_;
  OnClient on_client_;
  const ListenerSettings settings_;
  std::string address_;
  std::uint16_t port_ = 0;
  std::string path_;  // UNIX socket: the file, and what it was when it was made
  dev_t device_ = 0;
  ino_t inode_ = 0;
  bool open_ = false;                            // start() was called, and stop() was not
  proto::Micros failing_since_ = proto::kNever;  // it cannot accept clients, which was told
  proto::Micros logged_at_ = -kAcceptLogInterval;
  ListenerCounters counters_;
};

}  // namespace nbdgw::net
