#pragma once

#include <cstdint>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/operator.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/target/target_model.hpp"
#include "tests/sim/trouble.hpp"

namespace nbdgw::sim {

/// A part of the worlds is about something that takes more than one target's theme: what happens there, who uses it
/// and what becomes of the gateway have to come together, and hardly ever do where each is drawn for itself.
class Scene {
 public:
  enum class Kind : std::uint8_t {
    none,
    patience,    // all that strikes passes: nobody is to see an error
    right_disk,  // another disk behind the LUN, untold, or without a name, and clients that are silent for a while
    caches,      // losses of a cache, through restarts and reloads, and clients that leave little unflushed
    quarrel,     // other hosts' resets again and again, and functions that are refused
    long_hang,   // LUNs that hang for long with much to do, answer all the same, and do what functions ask for
  };

  /// None.
  Scene() : Scene(Kind::none, Random(0)) {}
  /// Of the world of that seed. It has random sources of its own: it shifts nothing in the worlds that have none.
  static Scene draw(std::uint64_t seed);
  Kind kind() const noexcept { return kind_; }

  void set(TroubleHabits& trouble, OperatorHabits& acts);
  /// The array that is in trouble.
  void set(TargetOptions& options, Theme theme);
  /// What it takes of the gateway's settings.
  void set(GatewaySetup::Target& target);
  void set(ClientHabits& habits);

 private:
  Scene(Kind kind, Random random) : kind_(kind), random_(random) {}

  void make_pass(TargetOptions& options);
  void swap_disks(TargetOptions& options);
  void lose_caches(TargetOptions& options);
  void let_others_reset(TargetOptions& options);
  void let_units_hang(TargetOptions& options);

  Kind kind_;
  Random random_;
  bool plain_power_on_ = false;  // then no gateway may begin that knows nothing of former logins
};

}  // namespace nbdgw::sim
