#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/random.hpp"
#include "tests/sim/target/commands.hpp"
#include "tests/sim/target/controller.hpp"
#include "tests/sim/target/faults.hpp"
#include "tests/sim/target/habits.hpp"
#include "tests/sim/target/medium.hpp"
#include "tests/sim/target/observer.hpp"
#include "tests/sim/target/protocol_checker.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// An array as it is set up.
struct TargetOptions {
  struct Lun {
    std::uint64_t number;
    std::size_t medium;
  };
  std::vector<std::string> names{"iqn.2026-11.io.nbdgw:array"};  // the same LUNs under each
  std::vector<ControllerOptions> controllers{{.addresses = {"10.1.0.1:3260"}, .group_tag = 1}};
  std::vector<MediumOptions> media;
  std::vector<Lun> luns;
  TargetHabits habits;
  TargetFaults faults;
  ProtocolComplaints* complaints = nullptr;
  TargetObserver* observer = nullptr;

  /// Where there is one LUN a second one comes, with a disk like that of the first.
  void have_two_luns();
};

/// A model of an iSCSI array, written from the standards and from what real targets do (RFC 7143, SPC, SBC): several
/// controllers over the same disks. It shares nothing with the project's initiator or its embedded target.
class Target {
 public:
  Target(Timeline& timeline, Random random, const TargetOptions& options);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  std::size_t controllers() const noexcept;
  /// Where connections come to; target/wire_target.hpp puts it on the simulated network.
  Controller& controller(std::size_t index) noexcept;

  /// The disks, in the order of the options; behind them those that were never mapped at first.
  std::size_t media() const noexcept;
  Medium& medium(std::size_t index) noexcept;
  /// All commands that have come, and what has become of them.
  const CommandTable& commands() const noexcept;

  /// From now on no new fault: what hangs goes on, controllers can be reached, LUNs are as at first.
  void heal();
  /// The initiator makes anew what it serves that disk by.
  void on_remade(const Medium& medium) noexcept;
  void allow(std::string_view fault, bool yes);
  /// The faults that have struck, by name.
  std::map<std::string, std::uint64_t> faults_seen() const;

  /// The world is at rest: complains about what should be over.
  void check_rest();
  std::size_t sessions() const noexcept;
  /// By its number; null: there is none (any more).
  TargetSession* session(std::uint32_t number) const noexcept;

 private:
  std::unique_ptr<Array> array_;
};

}  // namespace nbdgw::sim
