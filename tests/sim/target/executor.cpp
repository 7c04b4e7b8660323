#include "tests/sim/target/executor.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {
namespace {

constexpr std::uint8_t kReads = 0x40;
constexpr std::uint8_t kWrites = 0x20;

}  // namespace

TargetCommand& Executor::arrive(TargetSession& session, TargetConnection& connection, const pdu::Request& request) {
  std::uint64_t isid = 0;
  for (const std::uint8_t byte : session.identity().isid) isid = isid << 8 | byte;
  const Origin origin{.session = session.number(),
                      .isid = isid,
                      .controller = connection.controller().index(),
                      .cid = connection.cid(),
                      .itt = request.itt(),
                      .cmd_sn = request.cmd_sn()};
  TargetCommand& command = array_.commands.add(origin, request.bhs + 32, array_.now());
  command.executor = this;
  command.state = TargetCommand::State::parked;
  command.immediate = request.immediate();
  command.reads = (request.bhs[1] & kReads) != 0;
  command.writes = (request.bhs[1] & kWrites) != 0;
  command.session = &session;
  command.connection = &connection;
  command.lun = request.lun();
  array_.commands.record(command.origin.record).lun = command.lun;
  command.expected = be32(request.bhs + 20);
  command.unsolicited = !request.final();
  const bool moves = command.block.kind == scsi::BlockCommand::Kind::write;
  command.data.restart(moves ? kept_of_payload() : kCellBytes);
  command.data.append(request.data);
  connection.command_came();
  session.add(command);
  return command;
}

/// How many bytes it wants to be sent.
std::uint32_t Executor::needed(const TargetCommand& command) const noexcept {
  if (command.medium == nullptr) return 0;
  const std::uint32_t block = command.medium->block_size();
  switch (command.block.kind) {
    case scsi::BlockCommand::Kind::write:
      return static_cast<std::uint32_t>(command.block.blocks * block);
    case scsi::BlockCommand::Kind::write_same:
      return block;
    case scsi::BlockCommand::Kind::unmap:
      return be16(&command.cdb[7]);
    default:
      return 0;
  }
}

void Executor::enter(TargetCommand& command) {
  if (!command.immediate) command.session->command_entered();
  command.state = TargetCommand::State::collecting;
  command.unit = array_.units.find(command.lun);
  if (command.unit != nullptr) {
    command.medium = command.unit->medium();
    command.change = command.unit->change();
    command.origin.warned = command.unit->warned(command.origin.session, command.origin.cmd_sn);
    command.origin.home = command.unit->home();
    array_.commands.record(command.origin.record).medium = command.medium;
    note_unmapped(command);
  }
  const std::uint32_t need = needed(command);
  if (command.writes) command.wanted = std::min(command.expected, need);
  command.excess = need - command.wanted;
  const bool moves = command.block.kind != scsi::BlockCommand::Kind::none;
  if (command.unit != nullptr && command.unit->hangs() && (moves || !array_.habits().hung_units_answer)) {
    command.of_hung_unit = true;
  } else if (command.unit == nullptr) {
    if (!scsi::always_answered(command.cdb[0])) command.early = {scsi::kCheckCondition, scsi::kNoSuchUnit};
  } else {
    command.early = command.unit->refuse(command, command.connection->controller().access());
  }
  if (!command.early && !command.of_hung_unit) draw_faults(command);
  command.requested = static_cast<std::uint32_t>(command.data.size());
  tell_of_writer(command);
  proceed(command);
}

/// Where an UNMAP does something is in its data: of the first range.
void Executor::note_unmapped(TargetCommand& command) {
  if (command.block.kind != scsi::BlockCommand::Kind::unmap || command.data.size() < 24) return;
  CommandRecord& record = array_.commands.record(command.origin.record);
  record.lba = be64(command.data.view().data() + 8);
  record.blocks = be32(command.data.view().data() + 16);
}

/// Once, as soon as it is known where it writes.
void Executor::tell_of_writer(TargetCommand& command) {
  TargetObserver* const observer = array_.options.observer;
  if (observer == nullptr || command.told || !command.block.writes() || command.medium == nullptr) return;
  if (command.early || array_.commands.record(command.origin.record).blocks == 0) return;
  command.told = true;
  observer->on_writer(array_.commands, command);
}

/// Goes on with a command that has got something: it runs once all is there that it wants.
void Executor::proceed(TargetCommand& command) {
  if (command.unsolicited && !(command.early && array_.habits().early_errors)) return;
  // A function has waited for the data that it had been asked for.
  if (command.ended_by != nullptr && command.r2t_count == 0) return end(command, Fate::aborted);
  const bool complete = command.data.size() >= command.wanted;
  if (command.early || complete) {
    if (command.r2t_count == 0) run(command);
  } else {
    ask(command);
  }
}

void Executor::ask(TargetCommand& command) {
  if (command.twist == Fault::no_r2t || command.mute) return;
  const TargetHabits& habits = array_.habits();
  const SessionTerms& terms = command.session->terms();
  const std::uint32_t at_once =
      std::min({habits.r2ts_at_once, terms.max_r2t, static_cast<std::uint32_t>(command.r2ts.size())});
  while (command.r2t_count < at_once && command.requested < command.wanted) {
    std::uint32_t length = std::min(terms.max_burst, command.wanted - command.requested);
    if (habits.r2t_length != 0) length = std::min(length, habits.r2t_length);
    if (array_.faults.strikes(Fault::odd_r2t)) {
      length = static_cast<std::uint32_t>(array_.faults.random(Fault::odd_r2t).spread(1, length));
    }
    OpenR2t& r2t = command.r2ts[command.r2t_count++];
    r2t = {.ttt = next_ttt_, .offset = command.requested, .length = length};
    next_ttt_ = (next_ttt_ + 1) & 0x7fffffff;
    command.requested += length;
    command.connection->request_data(command, r2t);
  }
}

void Executor::run(TargetCommand& command) {
  if (command.origin.fate == Fate::waiting) array_.commands.set_fate(command, Fate::running);
  note_unmapped(command);
  tell_of_writer(command);
  if (command.of_hung_unit || command.twist == Fault::hung_command) {
    command.state = TargetCommand::State::hung;
    return;
  }
  Micros delay = 0;
  if (!array_.random.chance(array_.habits().instant)) {
    delay = array_.random.between(array_.habits().quickest, array_.habits().slowest);
  }
  if (array_.faults.strikes(Fault::slow_command)) delay += array_.faults.delay(Fault::slow_command);
  if (command.detached) delay += array_.faults.ghost_life(Fault::function_late_data);
  command.state = TargetCommand::State::running;
  if (delay == 0) return finish(command);
  plan(command, delay);
}

void Executor::plan(TargetCommand& command, Micros delay) {
  command.state = TargetCommand::State::running;
  array_.timeline.after(
      delay, [command = &command, number = ++command.timer] { command->executor->on_timer(*command, number); });
}

void Executor::on_timer(TargetCommand& command, std::uint32_t number) {
  if (command.state != TargetCommand::State::running || command.timer != number) return;
  finish(command);
  array_.settle();
}

void Executor::finish(TargetCommand& command) {
  const bool hangs = command.twist == Fault::hung_answer && !command.mute;
  const Ending ending = execute(command);
  array_.commands.writes_no_more(command);
  if (hangs) {
    command.executed = true;
    command.early = ending.completion;
    command.state = TargetCommand::State::hung;
    array_.commands.set_fate(command, Fate::done);
    return;
  }
  answer(command, ending);
}

void Executor::answer(TargetCommand& command, const Ending& ending) {
  if (command.mute || command.connection == nullptr) return forget(command);
  TargetConnection& connection = *command.connection;
  const scsi::Sense& sense = ending.completion.sense;
  const bool tells_reset =
      ending.completion.status == scsi::kCheckCondition && sense.key == 6 && (sense.asc == 0x29 || sense.asc == 0x2f);
  if (tells_reset && array_.options.observer != nullptr)
    array_.options.observer->on_reset_told(array_.commands, command);
  if (!command.origin.warned && array_.options.observer != nullptr) {
    array_.options.observer->on_unwarned_answer(command, command.unit->knows(command.origin.session, command.change));
  }
  // The place in the window is free before the answer tells of the window.
  leave_session(command);
  array_.commands.set_fate(command, Fate::answered);
  connection.respond(command, ending);
  forget(command);
}

/// It takes no place in its session any more.
void Executor::leave_session(TargetCommand& command) {
  TargetSession* const session = std::exchange(command.session, nullptr);
  if (session == nullptr) return;
  session->remove(command);
  if (command.state == TargetCommand::State::parked) {
    session->void_parked(command);
  } else if (!command.immediate) {
    session->command_left();
  }
}

void Executor::forget(TargetCommand& command) {
  leave_session(command);
  if (command.ghost) --ghosts_;
  RunningFunction* const function = command.ended_by;
  TargetConnection* const connection = command.connection;
  array_.commands.remove(command, array_.now());
  if (connection != nullptr) connection->command_over();
  if (function != nullptr) array_.functions.command_over(*function);
}

void Executor::end(TargetCommand& command, Fate fate) {
  array_.commands.set_fate(command, fate);
  if (command.connection != nullptr && !command.connection->dead()) command.connection->remember(command.origin.itt);
  forget(command);
}

}  // namespace nbdgw::sim
