#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "gateway/iscsi_target/faults.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "gateway/net/mailbox.hpp"
#include "gateway/net/poller.hpp"
#include "gateway/net/system_random.hpp"
#include "gateway/net/unique_fd.hpp"
#include "proto/time.hpp"

namespace nbdgw::target_host {

class TargetClient;

struct TargetServerOptions {
  std::string host = "127.0.0.1";  // a numeric address or a host name, IPv6 without its brackets
  std::uint16_t port = 3260;       // 0: the system picks one
  /// More places to listen on. Each is a portal group of its own, with the next tag: the target's other controllers.
  std::vector<std::pair<std::string, std::uint16_t>> more{};
  iscsi_target::ServerOptions target;
  bool faults = false;  // faults can be switched on
};

/// Why the embedded target cannot start, for people.
class TargetError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The embedded iSCSI target on a TCP port: one thread with its sockets.
class TargetServer {
 public:
  /// TCP connections at a time; more are closed at once.
  static constexpr std::size_t kMaxConnections = 1024;
  /// How long connections may take to send what is queued when the server stops.
  static constexpr proto::Micros kStopLimit = 3 * proto::kSecond;
  /// Pause of accepting when the system has no descriptors or memory left.
  static constexpr proto::Micros kAcceptPause = proto::kSecond;

  /// Binds and listens: from here on initiators can connect, and wait for start(). The mediums of the options must
  /// outlive the server. Throws TargetError or std::system_error.
  explicit TargetServer(TargetServerOptions options);
  /// Stops it if it runs.
  ~TargetServer();
  TargetServer(const TargetServer&) = delete;
  TargetServer& operator=(const TargetServer&) = delete;

  /// Where it listens, "127.0.0.1:3260", with the port that the system picked.
  const std::string& address() const noexcept { return address_; }
  std::uint16_t port() const noexcept { return port_; }
  /// All of them, the first one first.
  std::vector<std::string> addresses() const;

  /// Starts the thread. Once.
  void start();
  /// From any thread: no new connections; those there are told that they will be dropped, and are; then the thread
  /// ends, and this returns. Safe to call more than once.
  void stop();

  /// From any thread: calls `work(now)` on the server's thread, where engine() and faults() may be used. After stop()
  /// it is not called any more, and destroyed with the server at the latest.
  template <typename Work>
  void post(Work work) {
    mailbox_.post(std::move(work));
  }

  // ---- on the server's thread
  // ---------------------------------------------------------------------------------------

  const iscsi_target::Server& engine() const noexcept { return server_; }
  /// Only with TargetServerOptions::faults.
  iscsi_target::Faults& faults() noexcept { return *faults_; }
  /// Where the initiator of a connection is, "192.0.2.1:4711".
  const std::string& peer_of(const iscsi_target::Connection& connection) const;

 private:
  /// Takes the initiators in.
  class Acceptor final : public net::Watcher {
   public:
    Acceptor(TargetServer& owner, std::uint16_t portal) noexcept : owner_(owner), portal_(portal) {}
    void on_ready(std::uint32_t events, proto::Micros now) override;
    /// Binds and listens. Throws TargetError.
    void listen(const std::string& host, std::uint16_t port);
    bool watch() noexcept;
    void unwatch() noexcept;
    void close() noexcept { listener_.reset(); }
    const std::string& address() const noexcept { return address_; }

   private:
    friend class TargetServer;
    TargetServer& owner_;
    std::uint16_t portal_;
    net::UniqueFd listener_;
    std::string address_;
  };

  void run();
  void accept_some(const Acceptor& from, proto::Micros now);
  void add_client(net::UniqueFd fd, std::uint16_t portal, proto::Micros now);
  void pause_accepting(proto::Micros until);
  void begin_stop(proto::Micros now);
  void settle(proto::Micros now);
  void deadlines(proto::Micros now);
  proto::Micros next_deadline() const noexcept;
  void drop(iscsi_target::Connection& connection, proto::Micros now);

  TargetServerOptions options_;
  net::SystemRandom random_;
  std::optional<iscsi_target::Faults> faults_;
  iscsi_target::Server server_;
  net::Poller poller_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;  // one for each portal group
  std::string address_;
  std::uint16_t port_ = 0;
  std::unordered_map<const iscsi_target::Connection*, std::unique_ptr<TargetClient>> clients_;
  proto::Micros accept_again_at_ = proto::kNever;
  bool stopping_ = false;
  proto::Micros stop_at_ = proto::kNever;
  net::Mailbox mailbox_;
  std::thread thread_;
};

}  // namespace nbdgw::target_host
