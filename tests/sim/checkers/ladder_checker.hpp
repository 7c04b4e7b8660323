#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "gateway/bridge/export_config.hpp"
#include "gateway/initiator/recovery_event.hpp"
#include "gateway/initiator/settings.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/pipe.hpp"
#include "tests/sim/target/commands.hpp"

namespace nbdgw::sim {

/// Of one target: the ladder ends. Three rules.
///
/// No command is left alone. A command that its target does not answer, over a connection on which bytes flow, is
/// ended by a function or with its session within longest_silence(): the deadline filter, the climbs of others before
/// it, and all rungs once, each for as long as the settings allow. Whatever the functions come to: a rung that is not
/// answered, refused, or cures nothing leads to the next one, and the last one needs nobody's answer.
///
/// No rung is climbed for ever. While nothing of the LUN moves (no READ or WRITE is executed, no request of a client
/// ends, be it with an error), the same rung does not succeed more often in a row than LadderMemory lets it:
/// kMaxTimes, and one abort more for each of the tries of each command of a LUN that is left alone. What clients
/// leave behind that go ends with nobody told, so all their commands are added for as long as the gateway works on
/// them; and LUNs of rude hosts, whose requests are nobody's concern, are not judged.
///
/// The ladder takes its time. A command is a matter for it only when it was silent for its timeout, or for a second
/// where somebody else has ended commands; so in ten seconds there are no more climbs than commands in flight that
/// could have become old in that time. A process that begins may reset each LUN once more. And none is aborted before
/// its time: of that the target knows only when it came, so what it may have waited on its way, behind all that the
/// gateway can have in memory, is taken off.
///
/// Nor does it take longer than it needs, where nothing speaks against it: a command that hangs, with none before it,
/// in a session that has seen no function and over connections that were never disturbed, is a matter for it when its
/// time is over and a ping was answered; not when the ping's time is over, too.
class LadderChecker {
 public:
  LadderChecker(Complaints& complaints, const Timeline& timeline, initiator::SessionSettings settings,
                std::vector<bridge::ExportConfig> exports);

  /// The settings change while the world goes on: those given first have the longest timeouts, these the shortest.
  void begins_early(const initiator::SessionSettings& least) { least_ = least; }

  /// It knows of no rung that was climbed before, and resets the LUNs to which the one before it may have left
  /// writes.
  void on_process_begins();
  void on_rung(const initiator::RecoveryEvent& rung);
  /// Another one comes, which remembers nothing.
  void on_session_leaves() { rows_.clear(); }
  /// A request of a client of this export was answered, or a READ or WRITE of it was executed.
  void on_progress(std::size_t export_index);
  /// A connection of this export is no more, with requests of so many parts.
  void on_left_behind(std::size_t export_index, std::uint64_t parts);
  /// Some requests of this export end with nobody told.
  void has_rude_hosts(std::size_t export_index) { unseen_.push_back(exports_[export_index].lun); }
  void on_fault(Fault fault) noexcept;
  void on_abort(const CommandTable& table, const TargetCommand& command);
  /// Others than the ladder end commands there, and the gateway may take it so for any: they are overdue early.
  void others_end_commands() noexcept { others_ = true; }
  /// `memory`: all that the gateway can have on its way, bytes.
  void set_links(const LinkHabits& links, std::uint64_t memory) noexcept;
  /// Now and then.
  void look(const CommandTable& table);

  /// What is on its way is so at most for so long.
  Micros lag() const noexcept { return lag_; }

  Micros longest_silence() const noexcept;
  /// After everything has healed, all that waits ends within this time. `portals`: some are in standby.
  Micros time_to_heal(bool portals) const noexcept;
  /// The longest time that a command has waited for the ladder.
  Micros longest_seen() const noexcept { return longest_seen_; }

 private:
  struct Row {
    initiator::Rung rung{};
    std::uint32_t times = 0;
  };
  /// The first command in a session, that hangs.
  struct Oldest {
    std::uint32_t record = 0;
    Micros since = proto::kNever;
  };
  /// What goes on though the connection that it came over is no more.
  struct Left {
    std::uint64_t lun = 0;
    std::uint64_t parts = 0;
    Micros at = 0;
  };
  static Micros time_for(std::uint8_t operation, const initiator::SessionSettings& settings) noexcept;
  void look_at_oldest(const TargetCommand& command, const CommandRecord& record);
  Micros filter() const noexcept;
  Micros one_climb() const noexcept;
  void check_row(const initiator::RecoveryEvent& rung);
  std::uint64_t left_behind(std::uint64_t lun);
  void check_pace(const initiator::RecoveryEvent& rung);

  Complaints& complaints_;
  const Timeline& timeline_;
  const initiator::SessionSettings settings_;
  initiator::SessionSettings least_;
  const std::vector<bridge::ExportConfig> exports_;
  std::map<std::uint64_t, Row> rows_;  // by LUN
  std::deque<Left> left_;
  std::vector<std::uint64_t> unseen_;  // LUNs
  std::map<initiator::Rung, std::deque<Micros>> recent_;
  std::map<std::uint32_t, Oldest> oldest_;  // by session
  std::deque<Micros> processes_;            // that have begun lately
  Micros longest_seen_ = 0;
  Micros lag_ = proto::kNever / 4;  // at most, of what is on its way
  bool others_ = false;
  bool pings_unanswered_ = false;
};

}  // namespace nbdgw::sim
