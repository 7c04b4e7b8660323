#pragma once

#include <cstdint>

#include "tests/sim/target/commands.hpp"
#include "tests/sim/target/target_connection.hpp"

namespace nbdgw::sim {

/// The life of a SCSI command at the target: it comes, gets its data, is executed, answered, or ended.
class Executor {
 public:
  explicit Executor(Array& array) : array_(array) {}

  /// It has come; not yet its turn.
  TargetCommand& arrive(TargetSession& session, TargetConnection& connection, const pdu::Request& request);
  /// All commands before it have entered.
  void enter(TargetCommand& command);
  void data_out(TargetSession& session, TargetConnection& connection, const pdu::Request& request);

  /// A function ends it, or waits for its end. False: it is not found.
  bool stop(TargetCommand& command, RunningFunction& function);
  /// It is not executed any more, and nobody is answered.
  void end(TargetCommand& command, Fate fate);
  /// Ended by somebody else: another host's reset, a power loss.
  void end_all_of(const LogicalUnit& unit, bool with_status);
  void end_everything();
  void on_connection_lost(TargetConnection& connection);
  /// The initiator sends no more over it.
  void on_connection_leaving(TargetConnection& connection);
  /// Those that hang because the unit hung go on.
  void on_unit_cured(const LogicalUnit& unit);
  /// All that hangs goes on.
  void heal();

  void on_timer(TargetCommand& command, std::uint32_t number);

 private:
  void draw_faults(TargetCommand& command);
  bool draw_refusal(TargetCommand& command);
  void draw_twist(TargetCommand& command);
  bool is_deadly(const TargetCommand& command) const noexcept;
  void end_session_of(TargetCommand& command);
  void stall_soon(const TargetConnection& connection);
  void take_unsolicited(TargetCommand& command, TargetConnection& connection, const pdu::Request& request);
  void take_solicited(TargetCommand& command, TargetConnection& connection, const pdu::Request& request);
  TargetCommand* find_detached(const TargetConnection& connection, const pdu::Request& request) const noexcept;
  void note_unmapped(TargetCommand& command);
  void tell_of_writer(TargetCommand& command);
  void proceed(TargetCommand& command);
  void ask(TargetCommand& command);
  void run(TargetCommand& command);
  void plan(TargetCommand& command, Micros delay);
  void finish(TargetCommand& command);
  Ending execute(TargetCommand& command);
  Reply perform(TargetCommand& command, std::size_t data_length);
  Ending fail(TargetCommand& command);
  void lose_cache(TargetCommand& command, Random& random);
  void twist(const TargetCommand& command, Ending& ending);
  void answer(TargetCommand& command, const Ending& ending);
  void lose(TargetCommand& command);
  bool recovers_a_part() noexcept;
  std::uint32_t most_moved() const noexcept;
  bool may_outlive(const TargetCommand& command) const noexcept;
  static bool may_have_late_data(const TargetCommand& command, const RunningFunction& function) noexcept;
  bool finds_detached(TargetCommand& command, RunningFunction& function);
  void release(TargetCommand& command);
  /// The same for all that are in question; what is done with one may end it, but no other.
  template <typename Question, typename Action>
  void for_each(Question question, Action action);
  void leave_session(TargetCommand& command);
  void forget(TargetCommand& command);
  std::uint32_t needed(const TargetCommand& command) const noexcept;

  Array& array_;
  std::uint32_t next_ttt_ = 1;
  std::uint32_t ghosts_ = 0;
};

}  // namespace nbdgw::sim
