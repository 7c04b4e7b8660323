#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/network.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/target/target_model.hpp"
#include "tests/sim/target/wire_target.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

class Scene;
class Throng;

/// A disk that is exported, as the world knows it.
struct Disk {
  std::uint32_t number = 0;      // over the whole world
  std::string exported;          // the name of the export
  const Medium* home = nullptr;  // what its LUN has when nobody meddles
  std::unique_ptr<Oracle> oracle;
};

/// A target on the simulated network, with its disks: one array, of one or more controllers.
class Site {
 public:
  struct Setup {
    std::uint32_t number = 0;      // of this one
    std::uint32_t first_disk = 0;  // disks are numbered over all sites
    bool faults = true;
    std::uint64_t seed = 0;    // for what is drawn apart from all else
    Scene* scene = nullptr;    // null: it has no part in it
    Throng* throng = nullptr;  // the same
    bool spares = true;        // there may be disks that another one's LUN leads to for a while
    ProtocolComplaints* complaints = nullptr;
    TargetObserver* observer = nullptr;
  };
  Site(const Setup& setup, Random& random, Timeline& timeline, Network& network);

  Target& target() noexcept { return *target_; }
  const Target& target() const noexcept { return *target_; }
  const TargetHabits& habits() const noexcept { return habits_; }
  Theme theme() const noexcept { return theme_; }
  /// What is away, or hangs, is so at most for so long.
  Micros longest_outage() const noexcept { return longest_outage_; }
  const std::string& iqn() const noexcept { return iqn_; }
  const std::vector<std::string>& portals() const noexcept { return portals_; }
  const std::vector<Disk>& disks() const noexcept { return disks_; }
  /// Nothing goes wrong there.
  bool healthy() const noexcept { return healthy_; }

 private:
  const std::string iqn_;
  const bool healthy_;
  Theme theme_ = Theme::none;
  TargetHabits habits_;
  Micros longest_outage_ = 0;
  std::unique_ptr<Target> target_;
  std::vector<std::unique_ptr<WireController>> controllers_;
  std::vector<std::string> portals_;
  std::vector<Disk> disks_;
};

}  // namespace nbdgw::sim
