#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/client/client.hpp"
#include "tests/sim/crowd.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/operator.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/target/target_model.hpp"
#include "tests/sim/trouble.hpp"

namespace nbdgw::sim {

/// A part of the worlds is about nothing but who gets what of too little: all targets are well there, and slow enough
/// that one who is never served is seen before the world ends.
class Throng {
 public:
  enum class Kind : std::uint8_t {
    none,
    hoards,  // hosts that take all they can get of an export, and clients beside them that ask for little
    passes,  // one that asks for all that its export has for itself, and others that ask for little all the time
    turns,   // a LUN with more to do than its target takes, and others with little
    pieces,  // READs that are larger than what their export has for itself, and nothing else to wake anybody
    unread,  // many answers that lie unread when the gateway is started again
  };

  /// There is none.
  Throng() : Throng(Kind::none, Random(0)) {}
  /// In the world of that seed. It has random sources of its own: it shifts nothing in the worlds that have none.
  static Throng draw(std::uint64_t seed);
  Kind kind() const noexcept { return kind_; }
  bool is_there() const noexcept { return kind_ != Kind::none; }

  void set(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd);
  /// How many targets there are, of the number that was drawn.
  std::uint32_t sites(std::uint32_t drawn) const noexcept { return kind_ == Kind::passes ? 2 : drawn; }
  void set(TargetOptions& options);
  void set(GatewaySetup& setup);
  /// How many clients that disk of that target has, of the number that was drawn.
  std::int64_t clients(std::uint32_t target, std::uint32_t disk, std::int64_t drawn) const noexcept;
  /// Which client: of how many targets, of the disks of its target, of the clients of its disk it is the how-manieth.
  struct Place {
    std::uint32_t target = 0;
    std::uint32_t disk = 0;
    std::int64_t client = 0;
  };
  /// `floor`: what its export has of the memory for itself.
  void set(ClientHabits& habits, const Place& place, std::uint64_t floor);
  /// Hosts that take and give nothing are at the first target.
  bool hosts_are_first() const noexcept { return kind_ == Kind::passes; }

 private:
  Throng(Kind kind, Random random) : kind_(kind), random_(random) {}

  void make_modest(ClientHabits& habits, std::uint32_t depth, std::uint32_t most);
  RudeHabits draw_host();
  CrowdHabits draw_crowd();

  Kind kind_;
  Random random_;
};

}  // namespace nbdgw::sim
