#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/occasions.hpp"
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
/// restarts of the gateway, most of which keep its clients.
class Trouble {
 public:
  Trouble(const TroubleHabits& habits, Timeline& timeline, Random random, Gateway& gateway,
          std::vector<std::unique_ptr<Client>>& clients, std::vector<std::string> left_out);
  /// Its kinds, as seen() has them.
  static const std::vector<std::string>& kinds();

  void start();
  /// No more of it, but a restart that has begun goes on.
  void heal() noexcept { occasions_.heal(); }
  /// After each step of the world.
  void advance();
  bool restarting() const noexcept { return restarting_; }
  /// The gateway has been, or will be, started again.
  bool restarts() const noexcept { return habits_.restarts > 0; }
  /// A client's link stands still no longer.
  static constexpr Micros kLongestStall = 20 * proto::kSecond;
  const std::map<std::string, std::uint64_t>& seen() const noexcept { return occasions_.seen(); }

 private:
  void lose_a_link();
  void stall_a_link();
  void restart();

  const TroubleHabits habits_;
  Occasions occasions_;
  // One for each kind: to leave one out shifts no other.
  Random lost_links_;
  Random stalled_links_;
  Random restarts_;
  Gateway& gateway_;
  std::vector<std::unique_ptr<Client>>& clients_;
  bool restarting_ = false;
};

}  // namespace nbdgw::sim
