#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/net/connection_limit.hpp"
#include "gateway/shard/cache_memory.hpp"
#include "gateway/shard/disk_register.hpp"
#include "gateway/shard/event_log.hpp"
#include "gateway/shard/kept_state.hpp"
#include "gateway/shard/worker.hpp"
#include "tests/sim/network.hpp"

namespace nbdgw::sim {

/// What the gateway is set up with: what the control thread makes of a configuration.
struct GatewaySetup {
  struct Target {
    initiator::SessionSettings settings;
    std::vector<bridge::ExportConfig> exports;
  };
  std::vector<Target> targets;
  shard::ShardOptions shard;
  nbd::ConnectionOptions clients;
  std::uint32_t most_clients = 64;
  std::uint32_t shards = 1;
};

/// Is told what the gateway tells its operators, and when a process of it ends.
class GatewayObserver {
 public:
  virtual void on_process_begins() {}
  virtual void on_event(const shard::EventRecord&) {}
  /// Its shards have ended; what was counted there is there yet.
  virtual void on_process_ends(const std::vector<std::unique_ptr<shard::Worker>>&) {}

 protected:
  ~GatewayObserver() = default;
};

/// The production code from the shard's turn downward, and the little of its control that the world needs: where
/// exports live, who accepts clients, restarts.
class Gateway {
 public:
  Gateway(GatewaySetup setup, Network& network, GatewayObserver& observer);

  /// A client has connected.
  void accept(int fd);
  /// When somebody has something to do; now: at once.
  Micros due();
  /// Whoever has something to do gets a turn. How many turns that were.
  std::uint32_t turns();

  /// The process ends; ended() says when it has. With `keep_clients` another one goes on with those: begin_again().
  /// Who connects meanwhile waits for that.
  void end(Micros limit, bool keep_clients);
  bool ended() const;
  void begin_again();
  /// There is no other process: nothing is left of it.
  void close();

  const std::vector<std::unique_ptr<shard::Worker>>& workers() const noexcept { return workers_; }
  const GatewaySetup& setup() const noexcept { return setup_; }
  std::uint64_t turns_so_far() const noexcept { return turns_; }

 private:
  void begin();
  std::vector<shard::KeptClient> take_kept();

  const GatewaySetup setup_;
  Network& network_;
  GatewayObserver& observer_;
  std::unique_ptr<shard::EventLog> events_;
  net::Resolver resolver_;
  std::unique_ptr<shard::DiskRegister> disks_;
  std::unique_ptr<net::ConnectionLimit> limit_;
  shard::CacheMemory caches_;
  nbd::ExportDirectoryPtr directory_;
  shard::ExportPlacesPtr places_;
  std::vector<std::unique_ptr<shard::Worker>> workers_;
  std::vector<int> pollers_;            // of the workers
  std::vector<net::UniqueFd> waiting_;  // clients, for the next process
  bool ending_ = false;
  std::uint64_t last_client_ = 0;
  std::uint64_t turns_ = 0;
};

}  // namespace nbdgw::sim
