#pragma once

#include <cstdint>

#include "tests/sim/client/client.hpp"
#include "tests/sim/crowd.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/operator.hpp"
#include "tests/sim/pipe.hpp"
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
    away,        // a controller, or the way to it, is away for longer than anybody waits, and another one is there
    crossing,    // resets, while data of what they end is on its way, slowly
    gaps,        // resets, while commands are missing before others, and nobody may ask for them
    quarrel,     // other hosts' resets again and again, and functions that are refused
    long_hang,   // LUNs that hang for long with much to do, answer all the same, and do what functions ask for
    names,       // the same disks under two names, each with a session of its own
    deadly,      // a block at which the target drops its connections
    refusals,    // large WRITEs that are refused, over slow links, through restarts
    lost_hosts,  // clients that are lost while there is little room, and much of theirs lies unread
    by_hand,     // an operator who resets sessions again and again, and LUNs that take their time
    idle,        // controllers of which one is active at a time, and LUNs that nobody uses
  };

  /// None.
  Scene() : Scene(Kind::none, Random(0)) {}
  /// Of the world of that seed. It has random sources of its own: it shifts nothing in the worlds that have none.
  static Scene draw(std::uint64_t seed);
  Kind kind() const noexcept { return kind_; }

  void set(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd);
  void set(LinkHabits& links);
  /// The array that is in trouble.
  void set(TargetOptions& options, Theme theme);
  /// What it takes of the gateway's settings.
  void set(GatewaySetup& setup);
  /// `there`: it uses that array.
  void set(ClientHabits& habits, bool there);
  /// How many clients that disk of the array has, of the number that was drawn.
  std::int64_t clients(std::uint32_t disk, std::int64_t drawn) const noexcept {
    return kind_ == Kind::idle && disk > 0 ? 0 : drawn;
  }

 private:
  Scene(Kind kind, Random random) : kind_(kind), random_(random) {}

  void set(GatewaySetup::Target& target);
  static void outlast_stalls(initiator::SessionSettings& session);
  void make_pings_long(initiator::SessionSettings& session);
  void ask_for_rungs(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd);
  void make_anew(TroubleHabits& trouble, OperatorHabits& acts);
  static void add_names(GatewaySetup& setup);
  static void add_controller(TargetOptions& options);
  void make_pass(TargetOptions& options);
  void swap_disks(TargetOptions& options);
  void lose_caches(TargetOptions& options);
  void send_away(TargetOptions& options);
  void end_what_sends(TargetOptions& options);
  void leave_gaps(TargetOptions& options);
  void make_hasty(GatewaySetup::Target& target);
  void clear_most(TargetFaults& faults);
  void ask_for_much(ClientHabits& habits);
  void let_others_reset(TargetOptions& options);
  void let_units_hang(TargetOptions& options);
  void name_twice(TargetOptions& options);
  void make_deadly(TargetOptions& options);
  void take_time(TargetOptions& options);
  void let_units_wait(TargetOptions& options);
  void leave_some_idle(TargetOptions& options);

  static constexpr const char* kSecondName = "-too";
  /// Makes of a seed that of those who leave, and of a source that of when.
  static constexpr std::uint64_t kLeavers = 0x6c6561766572;

  Kind kind_;
  Random random_;
  bool silent_ = false;   // nobody asks for anything for seconds
  bool late_ = false;     // the answer that tells of a loss comes after others
  bool leavers_ = false;  // clients leave between a loss and their next FLUSH
  bool data_stays_ =
      false;             // what stands still is the path, with the data of large writes; else all is at the target
  bool stalls_ = false;  // connections stand still in the middle of what they bring
  bool plain_power_on_ = false;  // then no gateway may begin that knows nothing of former logins
};

}  // namespace nbdgw::sim
