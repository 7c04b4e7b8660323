#pragma once

#include "tests/sim/target/faults.hpp"
#include "tests/sim/target/lun.hpp"
#include "tests/sim/target/target_session.hpp"

namespace nbdgw::sim {

/// Faults that need no occasion: what happens to the array, its controllers, sessions, connections and LUNs.
class Mischief {
 public:
  explicit Mischief(Array& array) : array_(array) {}

  /// From now on, in every tick.
  void begin();
  /// All that it has begun is over.
  void heal();

 private:
  void tick();
  bool draws(Fault fault) noexcept;

  void trouble(TargetConnection& connection);
  void trouble(TargetSession& session);
  void announce(TargetSession& session);
  void say(TargetConnection& connection, std::uint8_t event, Random& random);

  void trouble(Controller& controller);
  void fail_over();
  void set_access(bool swapped);
  void lose_power();

  void trouble(LogicalUnit& unit);
  void tell(LogicalUnit& unit);
  void protect(LogicalUnit& unit);
  void hide_identity(LogicalUnit& unit);
  void grow(LogicalUnit& unit);
  void hang(LogicalUnit& unit);
  void unmap(LogicalUnit& unit);
  void remap(LogicalUnit& unit);
  void come_without_a_name(LogicalUnit& unit);
  void bring_home(LogicalUnit& unit);
  Medium* spare_medium();

  Array& array_;
  bool failing_over_ = false;
};

}  // namespace nbdgw::sim
