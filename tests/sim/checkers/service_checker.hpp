#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/client/client.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/pipe.hpp"
#include "tests/sim/site.hpp"

namespace nbdgw::sim {

/// Good clients are answered within their bound, whatever the others do. A good client is one whose target and links
/// have no fault (ClientHabits::spared), and that asks for no more than what it may always have: its requests fit
/// into what its export has for itself (bridge/shares.hpp), or, where clients of the same export misbehave, into the
/// one small request that each connection may always have.
///
/// The bound. Nobody can take the room that such a request needs, so all that it waits for is its own target: its
/// commands, and those of the requests that came to the target before it, and may be in the fence ahead of it. Each
/// takes as long as its target's habits and the links let it; that is added up for all requests that the clients of
/// this target may have in flight, and doubled for what the gateway asks for itself (which disk is it, how large).
/// Clients that come and go leave requests behind: then all that the payload memory can hold may be ahead. The
/// processor is shared by turns, which are short.
///
/// Not judged: worlds in which the gateway is started again, for then everybody waits for everybody's requests
/// (Shard::drain()).
class ServiceChecker {
 public:
  ServiceChecker(Complaints& complaints, const Timeline& timeline) : complaints_(complaints), timeline_(timeline) {}

  /// `all`: the clients of that target, this one, too; with so many rude hosts. `memory`: of the gateway, bytes.
  void watch(const Client& client, const Site& site, const std::vector<const Client*>& all, std::uint32_t rude,
             const LinkHabits& links, std::uint64_t memory);
  void on_attached(const Client& client);
  void on_reply(const Client& client, const AskedRequest& request, std::uint32_t error);
  /// Now and then.
  void look();

  bool has_anybody() const noexcept { return !watched_.empty(); }
  /// The longest wait, of the bound.
  double longest_seen() const noexcept { return longest_seen_; }

 private:
  struct Watched {
    Micros bound = 0;
    Micros attached_at = -1;  // for the first time: its export is there; -1: not yet
  };
  void check(const Client& client, const Watched& watched, Micros asked_at);

  Complaints& complaints_;
  const Timeline& timeline_;
  std::map<const Client*, Watched> watched_;
  double longest_seen_ = 0;
};

}  // namespace nbdgw::sim
