#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/bridge/export.hpp"
#include "gateway/initiator/settings.hpp"
#include "gateway/shard/admin_state.hpp"
#include "gateway/shard/disk_register.hpp"
#include "gateway/shard/session_driver.hpp"
#include "gateway/shard/session_export.hpp"
#include "gateway/shard/shard.hpp"
#include "gateway/shard/view.hpp"

namespace nbdgw::shard {

struct KeptState;

/// What a shard is to make, and to tune, all in one turn.
struct WorkOrder {
  struct TunedTarget {
    SessionDriver* driver;
    initiator::SessionSettings settings;  // see Session::retune()
  };
  struct TunedExport {
    SessionExport* slot;
    bridge::ExportConfig config;  // see Export::retune()
    bool required;
  };
  struct NewTarget {
    initiator::SessionSettings settings;
    std::uint32_t number;  // see SessionNumbers
  };
  struct NewExport {
    bridge::ExportConfig config;
    bool required = true;
    std::string target;                          // label of its session, which is there or among the new ones
    AdminState admin_state{};                    // of the export in whose place it comes
    std::optional<bridge::CacheLegacy> cache{};  // the same
    bridge::LunRecord* record = nullptr;         // null: nothing of it outlives a crash
  };
  std::vector<TunedTarget> tuned_targets;
  std::vector<TunedExport> tuned_exports;
  std::vector<NewTarget> new_targets;
  std::vector<NewExport> new_exports;
};

/// What was made, by name.
struct WorkDone {
  std::vector<std::pair<std::string, SessionDriver*>> targets;
  std::vector<std::pair<std::string, SessionExport*>> exports;
};

/// A shard and what lives on it. Once the shard has been started all here belongs to its thread; others reach it by
/// Shard::post() only.
struct Worker {
  /// The register must outlive the worker.
  Worker(std::uint32_t index, const ShardOptions& options, DiskRegister& all_disks)
      : disks(all_disks, index), shard(index, options) {}

  WorkDone carry_out(WorkOrder order, net::Resolver& resolver, EventLog& events, proto::Micros now);
  ShardView view(const ViewOptions& options, proto::Micros now) const;
  /// Adds what passes from here to the next process. When the shard has ended.
  void take_kept(KeptState& state);

  ShardDisks disks;  // before all that has exports
  Shard shard;
  std::vector<std::unique_ptr<SessionDriver>> drivers;
  std::vector<std::unique_ptr<SessionExport>> exports;

 private:
  SessionExport& add(WorkOrder::NewExport order, proto::Micros now);
};

}  // namespace nbdgw::shard
