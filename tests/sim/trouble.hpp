#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// How often something happens to clients, and to the gateway itself: the mean time between two; 0: never.
struct TroubleHabits {
  Micros lost_links = 0;
  Micros stalled_links = 0;
  Micros restarts = 0;

  static TroubleHabits draw(Random& random);
};

/// Makes trouble that is not the targets': clients that go, in the middle of a request, too, or stand still, and
/// restarts of the gateway that keep its clients.
class Trouble {
 public:
  Trouble(const TroubleHabits& habits, Timeline& timeline, Random random, Gateway& gateway,
          std::vector<std::unique_ptr<Client>>& clients);

  void start();
  /// No more of it, but a restart that has begun goes on.
  void heal() noexcept { healed_ = true; }
  /// After each step of the world.
  void advance();
  bool restarting() const noexcept { return restarting_; }
  const std::map<std::string, std::uint64_t>& seen() const noexcept { return seen_; }

 private:
  void plan(Micros mean, void (Trouble::*what)());
  void lose_a_link();
  void stall_a_link();
  void restart();

  const TroubleHabits habits_;
  Timeline& timeline_;
  Random random_;
  Gateway& gateway_;
  std::vector<std::unique_ptr<Client>>& clients_;
  bool healed_ = false;
  bool restarting_ = false;
  std::map<std::string, std::uint64_t> seen_;
};

}  // namespace nbdgw::sim
