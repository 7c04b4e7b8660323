#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "gateway/initiator/settings.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/target/observer.hpp"
#include "tests/sim/target/target_model.hpp"

namespace nbdgw::sim {

/// The ladder as its target sees it, function by function. Five rules, each of what is certain there:
///
/// A rung is looked at. After an ABORT TASK that was answered "complete" no other comes before the LUN was asked with
/// a TEST UNIT READY, or has answered something that came later, or the time for that is over. Not where an operator
/// asks for rungs: nobody looks at those.
///
/// Rungs rise. Where nothing of a LUN is executed, its READs and WRITEs are aborted no more often in a row than
/// LadderMemory lets it.
///
/// Who is told that others have ended commands does not wait for them: a READ that came before the command that was
/// told so, in a session that has seen no function yet, is a matter for the ladder after a second.
///
/// Hosts do not answer each other's resets at once: where that was told, a refused ABORT TASK is not followed by the
/// LUN's reset without a pause (LadderMemory::kFirstPause, a quarter of it at least). Not where a pause may have been
/// before: seen from here that is a time without functions for this LUN. Nor is a reset meant that is asked for by
/// hand.
///
/// A hole in the CmdSN that a Reject has left does not stay: the session ends, a second later.
class RungChecker {
 public:
  /// `most`: the longest timeouts that the settings ever have.
  RungChecker(Complaints& complaints, const Timeline& timeline, initiator::SessionSettings most, bool one_controller);

  void begins_early(const initiator::SessionSettings& least) { least_ = least; }
  /// At most, of what is on its way.
  void set_lag(Micros lag) noexcept { lag_ = lag; }

  void on_function(const CommandTable& table, const FunctionSeen& seen);
  void on_function_answered(const CommandTable& table, const FunctionSeen& seen, std::uint8_t response);
  void on_reset_told(const CommandTable& table, const TargetCommand& command);
  void on_hole(std::uint32_t session, std::uint32_t cmd_sn);
  /// Something of the LUN was executed.
  void on_progress(std::uint64_t lun) { rows_.erase(lun); }
  /// The gateway has dropped its session: a LUN for which that was in vain is left alone, by other rules.
  void on_session_reset() noexcept { dropped_ = true; }
  /// An operator asks for rungs.
  void on_rung_asked() noexcept { ++by_hand_; }
  /// Now and then.
  void look(const Target& target);

 private:
  struct Last {
    FunctionSeen seen{};
    Micros came_at = 0;
    Micros answered_at = -1;  // -1: not yet
    std::uint8_t response = 0;
    std::size_t records = 0;  // that there were at the answer
  };
  struct Unit {
    std::optional<Last> last{};
    Micros told_at = -1;  // that others have ended commands
    bool paused = false;  // since the last reset of it
  };
  struct Session {
    std::optional<Last> last{};
    std::size_t records = 0;  // that there were at the first function
    bool reset = false;       // more than aborts has been tried
    std::map<std::uint64_t, Unit> units{};
  };
  struct Waiting {
    std::uint32_t session = 0;
    std::uint32_t record = 0;
    Micros told_at = 0;
    std::size_t connections = 0;
  };
  struct Hole {
    std::uint32_t session = 0;
    std::uint32_t cmd_sn = 0;
    Micros at = 0;
  };
  void check_looked_at(const CommandTable& table, const Session& session, const FunctionSeen& seen);
  void check_pause(const Session& session, Unit& unit, const FunctionSeen& seen);
  const CommandRecord* older_read(const CommandTable& table, const TargetCommand& command) const;
  bool still_waits(const Target& target, const Waiting& waiting);
  bool still_open(const Target& target, const Hole& hole);

  Complaints& complaints_;
  const Timeline& timeline_;
  const initiator::SessionSettings most_;
  initiator::SessionSettings least_;
  const bool one_controller_;
  std::map<std::uint32_t, Session> sessions_;
  std::map<std::uint64_t, std::uint32_t> rows_;  // of aborts, by LUN
  std::vector<Waiting> waiting_;
  std::vector<Hole> holes_;
  Micros lag_ = proto::kNever / 4;
  bool dropped_ = false;
  std::uint32_t by_hand_ = 0;  // rungs
};

}  // namespace nbdgw::sim
