#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gateway/control/gateway.hpp"
#include "gateway/shard/retirement.hpp"

namespace nbdgw::control {

/// One apply() under way; of the control thread.
///
/// First what can be done at once: what stays is tuned, what is new and in nobody's way is made. Then what goes is
/// taken down. Then that is made which had to wait for it: an object of the same name, a session with the same target
/// (it has the same ISID, and its login would end the other one), and an export of the same logical unit.
class Gateway::Reload {
 public:
  Reload(Gateway& gateway, config::Config next, ConfigDiff diff, OnReload done)
      : gateway_(gateway),
        old_(gateway.config_),
        next_(std::make_shared<const config::Config>(std::move(next))),
        diff_(std::move(diff)),
        done_(std::move(done)) {}

  void begin();

 private:
  /// A logical unit, whatever the configuration calls its target: while one export of it has commands with the
  /// target, no other one may send any, as their writes would not wait for each other.
  using Unit = std::pair<std::string, std::uint64_t>;
  using Step = std::function<void()>;

  static Unit unit_of(const config::Config& config, const config::Export& exported);
  void find_leavers();
  bool target_can_be_had_now(const config::Target& target) const;
  bool export_can_be_had_now(const config::Export& exported) const;
  void tune();
  void add(bool only_at_once);
  void add_target_and_export(std::uint32_t index, const config::Export& exported);
  void send_orders(Step then);
  void change_over();
  void note_retired(std::vector<shard::ExportLegacy> legacies);
  void finish(ReloadOutcome::Kind kind);

  Gateway& gateway_;
  const std::shared_ptr<const config::Config> old_;
  const std::shared_ptr<const config::Config> next_;
  ConfigDiff diff_;
  OnReload done_;

  std::set<std::string> leaving_exports_;  // names
  std::set<std::string> leaving_targets_;
  std::set<std::string> leaving_iqns_;
  std::set<Unit> leaving_units_;
  std::map<std::string, shard::AdminState> states_;  // of those that have gone, by name
  std::map<shard::Worker*, shard::WorkOrder> orders_;
  std::size_t retiring_ = 0;  // shards from which something goes yet
};

}  // namespace nbdgw::control
