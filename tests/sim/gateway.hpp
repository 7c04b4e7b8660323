#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
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

class Reload;

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
  /// The next process knows nothing of what this one knew.
  virtual void on_all_forgotten() {}
  /// What was counted for this export goes with it.
  virtual void on_export_leaves(const std::string& /*exported*/) {}
  virtual void on_session_leaves(const std::string& /*target*/) {}
  /// Its operator asks for a rung of the ladder.
  virtual void on_rung_asked(const std::string& /*target*/, initiator::Rung /*rung*/) {}

 protected:
  ~GatewayObserver() = default;
};

/// The production code from the shard's turn downward, and the little of its control that the world needs: where
/// exports live, who accepts clients, reloads, restarts. What control's thread does there is a step between turns
/// here.
class Gateway {
 public:
  /// How the process ends.
  enum class End : std::uint8_t {
    for_good,
    hands_over,     // another one goes on with the clients (systemd)
    leaves_nothing  // another one knows nothing of them
  };

  Gateway(GatewaySetup setup, Network& network, GatewayObserver& observer);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// A client has connected.
  void accept(int fd);
  /// When somebody has something to do; now: at once.
  Micros due();
  /// Whoever has something to do gets a turn. How many turns that were.
  std::uint32_t turns();

  /// These targets and exports from now on; what stays goes on, what goes has `limit` to finish what it has. Only if
  /// may_reload().
  void reload(std::vector<GatewaySetup::Target> targets, Micros limit);
  bool may_reload() const noexcept { return reload_ == nullptr && !ending_; }
  bool has_export(const std::string& name) const;
  /// Not in the middle of a reload.
  void set_admin_state(const std::string& exported, shard::AdminState state);
  /// Asks the session with that target for a rung, as the API does. Of an abort `which` chooses the task. False:
  /// there is no session now, or it takes no more.
  bool recover(const std::string& target, initiator::RecoveryRequest request, std::uint64_t which);
  /// New clients are turned away, or taken again.
  void take_clients(bool yes);

  /// The process ends; ended() says when it has. Another one comes with begin_again(), and who connects meanwhile
  /// waits for that; `for_good`: none does.
  void end(Micros limit, End how);
  bool ended() const;
  void begin_again();
  /// There is no other process: nothing is left of it.
  void close();

  const std::vector<std::unique_ptr<shard::Worker>>& workers() const noexcept { return workers_; }
  const GatewaySetup& setup() const noexcept { return setup_; }
  std::uint64_t turns_so_far() const noexcept { return turns_; }

 private:
  friend class Reload;

  struct TargetHome {
    shard::Worker* worker;
    shard::SessionDriver* driver;
  };
  struct ExportHome {
    shard::Worker* worker;
    shard::SessionExport* slot;
  };
  using Step = std::function<void()>;

  void begin();
  /// A step of the control thread: soon, between two turns.
  void on_control(Step step) { control_.push_back(std::move(step)); }
  void run_control();
  shard::WorkOrder::NewTarget order_target(const GatewaySetup::Target& target);
  shard::WorkOrder::NewExport order_export(const GatewaySetup::Target& target, const bridge::ExportConfig& exported);
  shard::Worker& least_loaded_worker() noexcept;
  void note_made(shard::Worker& worker, const shard::WorkDone& made);
  shard::WorkDone carry_out(shard::Worker& worker, shard::WorkOrder order);
  void publish_places();
  std::vector<shard::KeptClient> take_kept();
  void forget_all_but_writes_left();
  void leave_debts(std::vector<shard::KeptClient>& clients);
  void resume(shard::KeptClient client);

  GatewaySetup setup_;
  std::vector<GatewaySetup::Target> configured_;  // for the next process
  Network& network_;
  GatewayObserver& observer_;
  std::unique_ptr<shard::EventLog> events_;
  net::Resolver resolver_;
  std::unique_ptr<shard::DiskRegister> disks_;
  std::unique_ptr<net::ConnectionLimit> limit_;
  shard::CacheMemory caches_;
  nbd::ExportDirectoryPtr directory_;
  std::map<std::string, TargetHome> targets_;  // by label
  std::map<std::string, ExportHome> exports_;  // by name
  std::unique_ptr<Reload> reload_;             // under way
  std::deque<Step> control_;
  std::vector<std::unique_ptr<shard::Worker>> workers_;
  std::vector<int> pollers_;            // of the workers
  std::vector<net::UniqueFd> waiting_;  // clients, for the next process
  bool ending_ = false;
  End how_ = End::for_good;
  std::uint64_t last_client_ = 0;
  std::uint64_t turns_ = 0;
};

}  // namespace nbdgw::sim
