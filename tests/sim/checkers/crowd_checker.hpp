#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gateway/shard/worker.hpp"
#include "tests/sim/client/rude_host.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/oracle.hpp"

namespace nbdgw::sim {

/// Room is taken by who needs it, and had by who asks for it:
///
/// - A connection has no more requests in flight than ConnectionOptions::max_in_flight.
/// - Nobody waits for room while nothing of the payload memory is out and the exports are there: who asks when it
///   comes back gets it in the same turn, so at two looks in a row that has been forgotten. (A request that could
///   never have enough is refused, and no client of the world asks for so many at once that slots run out.)
/// - A WRITE of whose payload nothing has come has no memory. Judged when all clients are at rest, and rude hosts
///   are left that have done no more than that.
/// - Clients of the world say nothing that could be taken for the end of NBD: no connection ends for that.
/// - A host that is dead and owes TCP an answer is let go of after ShardOptions::peer_silence. Judged when no request
///   waits for its target: what a host has left behind is done first.
class CrowdChecker {
 public:
  CrowdChecker(Complaints& complaints, const GatewaySetup& setup) : complaints_(complaints), setup_(setup) {}

  /// Now and then.
  void look(const std::vector<std::unique_ptr<shard::Worker>>& workers, Micros now);
  /// All clients are at rest.
  void rest(const std::vector<std::unique_ptr<shard::Worker>>& workers,
            const std::vector<std::unique_ptr<RudeHost>>& hosts, Micros now);
  /// Some request waits for its target.
  static bool anything_with_targets(const std::vector<std::unique_ptr<shard::Worker>>& workers, Micros now);
  /// How long a dead host may be kept, from when nothing waits for its target any more: looks are a quarter of the
  /// silence apart at most (net/peer_watch.hpp).
  Micros longest_dead() const noexcept { return 2 * setup_.shard.peer_silence + 2 * proto::kSecond; }

 private:
  Complaints& complaints_;
  const GatewaySetup& setup_;
  std::set<std::uint64_t> waits_in_vain_;  // clients, at the last look
};

}  // namespace nbdgw::sim
