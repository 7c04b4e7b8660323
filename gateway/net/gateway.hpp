#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "config/model.hpp"
#include "gateway/initiator/host.hpp"
#include "gateway/net/connection_limit.hpp"
#include "gateway/net/listener.hpp"
#include "gateway/net/recovery_log.hpp"
#include "gateway/net/resolver.hpp"
#include "gateway/net/session_driver.hpp"
#include "gateway/net/session_export.hpp"
#include "gateway/net/shard.hpp"
#include "gateway/net/system_random.hpp"

namespace nbdgw::net {

struct GatewayOptions {
  /// Shutdown: how long clients and requests in flight may take to finish, before they are cut off.
  proto::Micros drain_limit = 10 * proto::kSecond;
};

/// A gateway made from a configuration: its shards with their sessions, exports and clients, and the control thread,
/// which accepts clients and looks up names.
class Gateway {
 public:
  explicit Gateway(config::Config config, GatewayOptions options = {});
  /// Ends at once whatever still runs.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// Opens the listeners, starts the threads and the logins. Throws ListenError or std::system_error, with a text for
  /// people; nothing runs then. A target that is down is no error: it is tried again and again.
  void start();

  /// From any thread: no new clients; those there are finish what is in flight; sessions log out; then wait()
  /// returns.
  void drain();
  /// Waits for the end.
  void wait();

  /// Where it listens, as text, in the order of the configuration; with the ports that the system picked.
  std::vector<std::string> addresses() const;
  const std::vector<std::unique_ptr<Listener>>& listeners() const noexcept { return listeners_; }
  std::size_t worker_count() const noexcept { return workers_.size(); }
  /// What the escalation ladders did. May be used from any thread.
  const RecoveryLog& recovery_log() const noexcept { return recovery_log_; }
  std::uint32_t client_count() const noexcept { return limit_.taken(); }

 private:
  /// A shard and what lives on it.
  struct Worker {
    Worker(std::uint32_t index, ShardOptions shard_options, const std::string& initiator_name,
           proto::RandomSource& random)
        : shard(index, std::move(shard_options)), host(initiator_name, random) {}
    Shard shard;
    initiator::Host host;
    std::vector<std::unique_ptr<SessionDriver>> drivers;
    std::vector<std::unique_ptr<SessionExport>> exports;
  };

  void open_listeners();
  void make_workers();
  void add_target(Worker& worker, std::uint32_t index);
  void take_client(UniqueFd fd, ConnectionLimit::Ticket ticket);
  void stop_control();

  const config::Config config_;
  const GatewayOptions options_;
  SystemRandom random_;
  ConnectionLimit limit_;
  boost::asio::io_context control_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> control_work_;
  Resolver resolver_;
  RecoveryLog recovery_log_;
  nbd::ExportDirectoryPtr directory_;
  ExportPlaces places_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::size_t next_worker_ = 0;  // for the next client
  std::thread control_thread_;
};

}  // namespace nbdgw::net
