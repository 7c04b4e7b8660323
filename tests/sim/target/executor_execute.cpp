// What commands do, and what goes wrong with them.
#include <algorithm>
#include <array>
#include <initializer_list>

#include "tests/sim/target/array.hpp"
#include "tests/sim/target/executor.hpp"

namespace nbdgw::sim {
namespace {

using scsi::Sense;

/// What goes wrong, and not with a deferred error or a unit attention.
constexpr auto kTroubles = std::to_array<Sense>({
    {0x0, 0x00, 0x00},  // no sense
    {0x2, 0x04, 0x00},  // not ready
    {0x2, 0x04, 0x01},  // becoming ready
    {0x2, 0x04, 0x03},  // manual intervention
    {0x2, 0x04, 0x07},  // operation in progress
    {0x2, 0x04, 0x0a},  // asymmetric access state transition
    {0x2, 0x3a, 0x00},  // no medium
    {0x3, 0x0c, 0x00},  // write error
    {0x3, 0x11, 0x00},  // unrecovered read error
    {0x4, 0x44, 0x00},  // internal target failure
    {0x5, 0x25, 0x00},  // no such unit
    {0x7, 0x27, 0x00},  // write protected
    {0x7, 0x27, 0x07},  // the thin pool is full
    {0xb, 0x00, 0x00},  // aborted
    {0xb, 0x4b, 0x00},  // data phase error
    {0xd, 0x00, 0x00},  // volume overflow
});

/// Of those that mean nothing for what was written.
constexpr auto kAttentions = std::to_array<Sense>({scsi::kUnitReset,
                                                   {6, 0x29, 0x07},
                                                   scsi::kModeChanged,
                                                   scsi::kInquiryChanged,
                                                   scsi::kLunsChanged,
                                                   scsi::kThinThreshold,
                                                   scsi::kCapacityChanged,
                                                   {6, 0x2a, 0x06},
                                                   {6, 0x3f, 0x01}});

}  // namespace

void Executor::draw_faults(TargetCommand& command) {
  if (command.unit == nullptr || draw_refusal(command)) return;
  draw_twist(command);
}

/// What keeps the command from being executed.
bool Executor::draw_refusal(TargetCommand& command) {
  FaultDesk& faults = array_.faults;
  const auto refuse = [&command](std::uint8_t status, const Sense& sense = {}) {
    command.early = {status, sense};
    return true;
  };
  if (faults.strikes(Fault::busy)) return refuse(scsi::kBusy);
  if (faults.strikes(Fault::task_set_full)) return refuse(scsi::kTaskSetFull);
  if (scsi::always_answered(command.cdb[0])) return false;
  if (faults.strikes(Fault::reservation_conflict)) return refuse(scsi::kReservationConflict);
  if (faults.strikes(Fault::unit_attention)) {
    return refuse(scsi::kCheckCondition, faults.random(Fault::unit_attention).any_of(kAttentions));
  }
  if (faults.strikes(Fault::deferred_error)) {
    // An earlier write was not done well: what was in the cache may be gone with it.
    Random& random = faults.random(Fault::deferred_error);
    if (random.chance(0.5)) lose_cache(command, random);
    return refuse(scsi::kCheckCondition, {.key = 3, .asc = 0x0c, .ascq = 0, .deferred = true});
  }
  return false;
}

bool Executor::is_deadly(const TargetCommand& command) const noexcept {
  const std::uint64_t block = command.medium->options().deadly_block;
  return command.block.lba <= block && block - command.block.lba < command.block.blocks;
}

/// As firmware does that falls over it: this one has no answer, and soon no connection has any.
void Executor::end_session_of(TargetCommand& command) {
  command.twist = Fault::hung_command;
  if (array_.options.observer != nullptr) array_.options.observer->on_deadly(command);
  Random& random = array_.faults.random(Fault::deadly_read);
  const Cut cut = random.chance(0.5) ? Cut::reset : Cut::close;
  array_.after(random.spread(1, proto::kMillisecond), [this, cut, tsih = command.session->tsih()] {
    if (TargetSession* const session = array_.find_session(tsih)) array_.end_session(*session, cut);
  });
}

void Executor::draw_twist(TargetCommand& command) {
  using Kind = scsi::BlockCommand::Kind;
  FaultDesk& faults = array_.faults;
  const Kind kind = command.block.kind;
  const auto strikes = [&](std::initializer_list<Fault> list) {
    for (const Fault fault : list) {
      if (command.twist == Fault::none && faults.strikes(fault)) command.twist = fault;
    }
  };
  if (kind == Kind::read && is_deadly(command) && faults.strikes(Fault::deadly_read)) return end_session_of(command);
  strikes({Fault::hung_command, Fault::hung_answer, Fault::recovered_error, Fault::check_condition,
           Fault::aborted_command, Fault::task_aborted, Fault::target_failure});
  if (kind == Kind::read) strikes({Fault::short_read, Fault::short_read_untold});
  if (kind == Kind::synchronize) strikes({Fault::synchronize_fails});
  if (kind == Kind::unmap) strikes({Fault::sense_with_good});
  if (command.wanted > command.data.size()) strikes({Fault::no_r2t});
  if (kind != Kind::write || command.wanted == 0) return;
  strikes({Fault::short_write});
  const bool recovers = command.twist == Fault::recovered_error && recovers_a_part();
  const std::uint32_t whole = command.wanted;
  if (command.twist == Fault::short_write || recovers) {
    const std::uint32_t block = command.medium->block_size();
    const auto blocks = static_cast<std::uint32_t>(faults.random(command.twist).below(command.block.blocks));
    command.wanted = std::min(command.wanted, blocks * block);
  }
  command.wanted = std::min(command.wanted, most_moved());
  command.partial = command.wanted < whole;
}

/// Of that much it is certain; of the rest nobody knows.
bool Executor::recovers_a_part() noexcept {
  return array_.habits().recovers_parts && array_.faults.random(Fault::recovered_error).chance(0.5);
}

std::uint32_t Executor::most_moved() const noexcept {
  const std::uint32_t most = array_.habits().most_moved;
  return most != 0 && !array_.faults.healed() ? most : ~0U;
}

Reply Executor::perform(TargetCommand& command, std::size_t data_length) {
  // It is too late for it: the unit has gone since, or was never there.
  const bool blocks = command.block.kind != scsi::BlockCommand::Kind::none;
  if (command.unit == nullptr || (!blocks && command.unit->medium() == nullptr) ||
      command.cdb[0] == scsi::kReportLuns) {
    return array_.units.answer_without_unit(command);
  }
  if (blocks && command.medium == nullptr) return {scsi::kCheckCondition, scsi::kNoSuchUnit, {}};
  return command.unit->perform(command, data_length, array_.now());
}

Ending Executor::execute(TargetCommand& command) {
  Ending ending;
  if (command.early) {
    ending.completion = *command.early;
    return ending;
  }
  const bool fails = command.twist == Fault::check_condition || command.twist == Fault::aborted_command ||
                     command.twist == Fault::task_aborted || command.twist == Fault::synchronize_fails;
  if (fails) return fail(command);
  const Reply reply = perform(command, std::min<std::size_t>(command.data.size(), command.wanted));
  ending.completion = {reply.status, reply.sense};
  ending.data = reply.data;
  if (command.block.kind == scsi::BlockCommand::Kind::read) {
    ending.data = ending.data.first(std::min<std::size_t>(ending.data.size(), most_moved()));
  }
  if (reply.status == scsi::kGood) twist(command, ending);
  return ending;
}

void Executor::lose_cache(TargetCommand& command, Random& random) {
  command.medium->lose_power(random, array_.now(), false);
  command.lost = command.medium;
  command.lost_at = array_.now();
}

/// It comes to nothing, or to a part of what it was for.
Ending Executor::fail(TargetCommand& command) {
  FaultDesk& faults = array_.faults;
  Random& random = faults.random(command.twist);
  Ending ending;
  switch (command.twist) {
    case Fault::synchronize_fails:
      if (random.chance(0.5)) lose_cache(command, random);
      ending.completion = {scsi::kCheckCondition, {3, 0x0c, 0}};
      return ending;
    case Fault::task_aborted:
      ending.completion = {scsi::kTaskAborted, {}};
      break;
    case Fault::aborted_command:
      ending.completion = {scsi::kCheckCondition, {0xb, 0x44, 0}};
      break;
    default:
      ending.completion = {scsi::kCheckCondition, random.any_of(kTroubles)};
  }
  const std::uint32_t block = command.medium != nullptr ? command.medium->block_size() : 1;
  const std::size_t part = random.chance(0.5) ? random.below(command.wanted / block + 1) * block : 0;
  if (command.block.kind == scsi::BlockCommand::Kind::write) {
    if (part > 0) perform(command, part);
  } else if (command.block.kind == scsi::BlockCommand::Kind::read && random.chance(0.5)) {
    const Reply reply = perform(command, 0);
    ending.data = reply.data.first(random.below(reply.data.size() + 1));
  }
  return ending;
}

/// It is done, but that is not all there is to say.
void Executor::twist(const TargetCommand& command, Ending& ending) {
  switch (command.twist) {
    case Fault::recovered_error:
      ending.completion = {scsi::kCheckCondition, {1, 0x17, 1}};
      if (command.block.kind == scsi::BlockCommand::Kind::read && !ending.data.empty() && recovers_a_part()) {
        Random& random = array_.faults.random(Fault::recovered_error);
        ending.tells_residual = random.chance(0.5);
        ending.data = ending.data.first(random.below(ending.data.size()));
      }
      break;
    case Fault::target_failure:
      ending.target_failure = true;
      break;
    case Fault::sense_with_good:
      ending.attaches_sense = true;
      ending.completion.sense = scsi::kNoSuchUnit;
      break;
    case Fault::short_read:
    case Fault::short_read_untold:
      ending.tells_residual = command.twist == Fault::short_read;
      if (!ending.data.empty()) {
        ending.data = ending.data.first(array_.faults.random(command.twist).below(ending.data.size()));
      }
      break;
    default:
      break;
  }
}

}  // namespace nbdgw::sim
