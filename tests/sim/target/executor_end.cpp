// Commands that come to no end of their own.
#include <utility>

#include "tests/sim/target/array.hpp"
#include "tests/sim/target/executor.hpp"

namespace nbdgw::sim {
namespace {

/// More of them than this do not outlive their sessions at a time.
constexpr std::uint32_t kMostGhosts = 64;

}  // namespace

template <typename Question, typename Action>
void Executor::for_each(Question question, Action action) {
  TargetCommand* next = nullptr;
  for (TargetCommand* command = array_.commands.first(); command != nullptr; command = next) {
    next = command->behind;
    if (question(*command)) action(*command);
  }
}

/// Not that of another session, whose initiator could not know which data not to send; but for what is on a way that
/// stands still: that it does not arrive any more, the initiator has in its hands, when it gives the connection up.
bool Executor::may_have_late_data(const TargetCommand& command, const RunningFunction& function) noexcept {
  return command.session == function.session || (command.connection != nullptr && command.connection->stalled());
}

void Executor::stall_soon(const TargetConnection& connection) {
  FaultDesk& faults = array_.faults;
  const Micros begin = faults.delay(Fault::ended_answer_stalls);
  const Micros end = begin + faults.outage(Fault::ended_answer_stalls);
  for (const bool yes : {true, false}) {
    array_.after(yes ? begin : end, [this, yes, number = connection.number()] {
      if (TargetConnection* const it = array_.find_connection(number)) it->stall(yes);
    });
  }
}

bool Executor::stop(TargetCommand& command, RunningFunction& function) {
  using State = TargetCommand::State;
  const TargetHabits& habits = array_.habits();
  if (command.detached) return finds_detached(command, function);
  if (command.state == State::parked && habits.parked_survive) return false;
  const bool may_answer = command.state == State::running && !command.mute && command.connection != nullptr;
  if (habits.answers_first && may_answer && command.ended_by == nullptr) {
    // Its answer may be on its way, over another connection, when the function's arrives.
    TargetConnection& connection = *command.connection;
    finish(command);
    const bool elsewhere = &connection != function.connection;
    if (elsewhere && array_.faults.strikes(Fault::ended_answer_stalls)) stall_soon(connection);
    return true;
  }
  function.records.push_back(command.origin.record);
  const bool has_to_go_on = command.state == State::running && !habits.ends_at_once;
  const bool lacks_data = command.state == State::collecting && !command.unsolicited && !command.early &&
                          !command.mute && command.data.size() < command.wanted;
  const bool has_data_coming = command.state == State::collecting && command.r2t_count > 0;
  if (function.late_data && (has_data_coming || lacks_data) && may_have_late_data(command, function)) {
    // Only its data is missing: it is let go of, and nobody looks for it any more. What had not been asked for is
    // asked for just now.
    if (!has_data_coming) {
      command.twist = Fault::none;
      ask(command);
    }
    command.detached = command.mute = true;
    leave_session(command);
    return true;
  }
  if (function.lies && command.state == State::running && command.block.writes()) {
    command.detached = command.mute = true;
    leave_session(command);
    plan(command, array_.faults.ghost_life(Fault::function_lies));
    return true;
  }
  if (command.ended_by == nullptr && (has_to_go_on || (has_data_coming && habits.functions_in_order))) {
    command.mute = true;
    command.ended_by = &function;
    ++function.waits_for;
    return true;
  }
  if (habits.task_aborted_status && !command.mute && command.connection != nullptr &&
      command.state == State::running) {
    TargetConnection& connection = *command.connection;
    leave_session(command);
    connection.respond(command, {.completion = {scsi::kTaskAborted, {}}, .data = {}});
  }
  end(command, Fate::aborted);
  return true;
}

/// One that a function has let go of. With its data it is at work again: then a reset waits for it, whoever sends
/// that, or ends it where it hangs.
bool Executor::finds_detached(TargetCommand& command, RunningFunction& function) {
  const bool hangs = command.state == TargetCommand::State::hung;
  if (command.state != TargetCommand::State::running && !hangs) return false;
  if (hangs || command.ended_by != nullptr) return end(command, Fate::aborted), true;
  command.ended_by = &function;
  ++function.waits_for;
  return true;
}

void Executor::end_all_of(const LogicalUnit& unit, bool with_status) {
  for_each([&](const TargetCommand& each) { return each.unit == &unit && !each.detached; },
           [&](TargetCommand& command) {
             if (with_status && !command.mute && command.state != TargetCommand::State::parked) {
               return answer(command, {.completion = {scsi::kTaskAborted, {}}, .data = {}});
             }
             end(command, Fate::lost);
           });
}

void Executor::end_everything() {
  for_each([](const TargetCommand&) { return true; }, [&](TargetCommand& command) { end(command, Fate::lost); });
}

/// It has all of its data, and is at work or hangs. Not one for which only a part of its data was asked: that a
/// target writes nothing before it has all of it is what initiators go by (ARCHITECTURE.md, "When the session is
/// lost").
bool Executor::may_outlive(const TargetCommand& command) const noexcept {
  const bool at_work = command.state == TargetCommand::State::running || command.state == TargetCommand::State::hung;
  return at_work && !command.executed && !command.partial && ghosts_ < kMostGhosts;
}

/// Nobody is there to be answered. It may be executed all the same, if it has all that it takes.
void Executor::lose(TargetCommand& command) {
  FaultDesk& faults = array_.faults;
  if (command.detached && command.state == TargetCommand::State::running) {
    // Of that one nobody knows any more.
    std::exchange(command.connection, nullptr)->command_over();
    return;
  }
  if (!may_outlive(command) || command.ghost || !faults.strikes(Fault::outlives_session)) {
    return end(command, command.origin.fate == Fate::aborted ? Fate::aborted : Fate::lost);
  }
  array_.commands.set_fate(command, Fate::lost);
  leave_session(command);
  command.mute = command.ghost = true;
  ++ghosts_;
  plan(command, faults.ghost_life(Fault::outlives_session));
  std::exchange(command.connection, nullptr)->command_over();
}

void Executor::on_connection_lost(TargetConnection& connection) {
  for_each([&](const TargetCommand& each) { return each.connection == &connection; },
           [&](TargetCommand& command) { lose(command); });
}

void Executor::on_connection_leaving(TargetConnection& connection) {
  for_each([&](const TargetCommand& each) { return each.connection == &connection; },
           [&](TargetCommand& command) {
             command.mute = true;
             const bool runs = command.state == TargetCommand::State::running && !command.partial;
             if (!runs || !array_.habits().lingers) return lose(command);
             array_.commands.set_fate(command, Fate::lost);
           });
}

void Executor::release(TargetCommand& command) {
  command.of_hung_unit = false;
  if (command.executed) {
    // Of what it has read, the present content is as good.
    Ending ending{.completion = *command.early, .data = {}};
    if (command.reads && ending.completion.status == scsi::kGood) ending.data = perform(command, 0).data;
    return answer(command, ending);
  }
  command.twist = Fault::none;
  plan(command, array_.random.between(array_.habits().quickest, array_.habits().slowest));
}

void Executor::on_unit_cured(const LogicalUnit& unit) {
  for_each(
      [&](const TargetCommand& each) {
        return each.unit == &unit && each.of_hung_unit && each.state == TargetCommand::State::hung;
      },
      [&](TargetCommand& command) { release(command); });
}

void Executor::heal() {
  using State = TargetCommand::State;
  for_each([](const TargetCommand& each) { return each.state == State::hung || each.twist == Fault::no_r2t; },
           [&](TargetCommand& command) {
             if (command.state == State::hung) return release(command);
             command.twist = Fault::none;
             proceed(command);
           });
}

}  // namespace nbdgw::sim
