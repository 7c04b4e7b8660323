#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/client/rude_host.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/site.hpp"

namespace nbdgw::sim {

/// Part of the worlds is a crowd: there is less room than is wanted, and hosts are there that take of it and give
/// nothing back. What is 0 is as it would be without.
struct CrowdHabits {
  std::uint64_t memory = 0;         // of each shard, bytes
  std::uint32_t max_in_flight = 0;  // requests of a connection
  Micros stall_timeout = 0;
  Micros peer_silence = 0;
  std::vector<RudeHabits> hosts;  // without the names of their exports

  static CrowdHabits draw(Random& random);
  void apply(GatewaySetup& setup) const noexcept;
  /// Until those have made way who are there when everything heals.
  Micros time_to_heal() const noexcept { return hosts.empty() ? 0 : 4 * stall_timeout; }
};

}  // namespace nbdgw::sim
