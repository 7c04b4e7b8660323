#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/occasions.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/site.hpp"
#include "tests/sim/timeline.hpp"
#include "tests/sim/trace.hpp"

namespace nbdgw::sim {

/// How often an operator does something: the mean time between two; 0: never.
struct OperatorHabits {
  Micros tunes = 0;           // reloads with settings that take effect in place
  Micros remakes = 0;         // reloads with settings of the first target that want another session
  Micros removes = 0;         // reloads without one of its exports, which comes back with a later one
  Micros drains = 0;          // an export, or the whole gateway, takes no new clients for a while
  Micros rungs = 0;           // asks for a rung of the ladder of the first target's session, though nothing is wrong
  Micros session_resets = 0;  // the same, for the last one

  static OperatorHabits draw(Random& random);
  bool reloads() const noexcept { return tunes > 0 || remakes > 0 || removes > 0; }
  /// Exports are made anew, or will be.
  bool makes_anew() const noexcept { return remakes > 0 || removes > 0; }
};

/// Whoever runs the gateway: reloads its configuration, drains exports and resets LUNs while clients use them. Each
/// target has two configurations, and a reload takes what it is about from the one or the other.
class Operator {
 public:
  Operator(const OperatorHabits& habits, Timeline& timeline, Random random, Trace& trace,
           const std::vector<std::unique_ptr<Site>>& sites, const GatewaySetup& setup,
           std::vector<std::string> left_out);
  /// Its kinds, as seen() has them.
  static const std::vector<std::string>& kinds();

  /// The longest and largest of what is ever configured: what checkers may hold against the gateway.
  GatewaySetup bounds() const;
  /// With the shortest times after which the ladder may begin, or climb on, with that target, and the shortest that
  /// its exports hold requests, with the fewest retries.
  GatewaySetup::Target least(std::size_t target) const;

  void start(Gateway& gateway, const std::vector<std::unique_ptr<Client>>& clients);
  /// From now on everything is to be there, for everybody.
  void heal() noexcept { occasions_.heal(); }
  /// After each step of the world.
  void advance();
  /// Not everything is there yet.
  bool busy() const noexcept;
  /// How long that may take.
  Micros time_to_heal() const noexcept;
  const std::map<std::string, std::uint64_t>& seen() const noexcept { return occasions_.seen(); }

 private:
  /// What is configured of a target.
  struct Plan {
    GatewaySetup::Target first;
    GatewaySetup::Target second;
    bool tuned = false;   // what takes effect in place is the second's
    bool remade = false;  // the same, of what a session is logged in with
    std::set<std::string> removed{};
  };

  void tune();
  void remake();
  void remove();
  void drain();
  void undrain(const std::string& exported);
  void ask_for_rung();
  void reset_session();
  void ask_for(const initiator::RecoveryRequest& request, const char* kind, std::uint64_t which);
  /// If nothing is in its way.
  bool may_reload(const char* kind) const noexcept { return occasions_.happens(kind) && gateway_->may_reload(); }
  void reload(const char* kind, Random& random);
  std::vector<GatewaySetup::Target> configuration() const;
  bool anything_removed() const noexcept;

  const OperatorHabits habits_;
  Timeline& timeline_;
  Occasions occasions_;
  Trace& trace_;
  // One for each kind: to leave one out shifts no other.
  Random tunes_;
  Random remakes_;
  Random removes_;
  Random drains_;
  Random rungs_{0};
  Random session_resets_{0};
  const GatewaySetup setup_;
  std::vector<Plan> plans_;  // by target
  Gateway* gateway_ = nullptr;
  const std::vector<std::unique_ptr<Client>>* clients_ = nullptr;
  bool whole_ = true;          // no export is away, or to come back
  std::uint32_t drained_ = 0;  // so many things take no clients now
  std::uint32_t asked_ = 0;    // rungs
};

}  // namespace nbdgw::sim
