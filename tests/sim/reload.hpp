#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gateway/shard/retirement.hpp"
#include "tests/sim/gateway.hpp"

namespace nbdgw::sim {

/// Another configuration takes the place of the present one, in the order in which control does it
/// (gateway/control/gateway_reload.hpp): what stays is tuned and what is in nobody's way is made, then what goes is
/// taken down, then what had to wait for that is made.
class Reload {
 public:
  Reload(Gateway& gateway, std::vector<GatewaySetup::Target> next, Micros limit)
      : gateway_(gateway), old_(gateway.setup_.targets), next_(std::move(next)), limit_(limit) {}

  void begin();

 private:
  using Step = Gateway::Step;

  void find_leavers();
  void tune();
  void add(bool only_at_once);
  bool can_be_had_now(const GatewaySetup::Target& target, const bridge::ExportConfig& exported) const;
  void send_orders(Step then);
  void change_over();
  void note_retired(std::vector<shard::ExportLegacy> legacies);
  void finish();

  Gateway& gateway_;
  const std::vector<GatewaySetup::Target> old_;
  const std::vector<GatewaySetup::Target> next_;
  const Micros limit_;
  std::set<std::string> leaving_exports_;  // names
  std::set<std::string> leaving_targets_;  // labels
  std::map<std::string, shard::AdminState> states_;
  std::map<std::uint32_t, shard::WorkOrder> orders_;  // by worker
  std::size_t unanswered_ = 0;                        // orders
  std::size_t retiring_ = 0;                          // shards from which something goes yet
};

}  // namespace nbdgw::sim
