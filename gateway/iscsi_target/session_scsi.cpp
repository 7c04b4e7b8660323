#include <algorithm>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "gateway/iscsi_target/session.hpp"
#include "proto/assert.hpp"

/// A SCSI command from its turn to its answer, and what a logical unit has to tell before it listens.
namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

/// What the gate says of a task, if there is one.
Gate::Decision Session::ask(Task& task, Gate::Passage passage, proto::Micros now) {
  if (server_.gate() == nullptr) return Gate::Decision::proceed;
  const Gate::Decision decision = server_.gate()->pass(task, passage, now);
  if (decision == Gate::Decision::hold) task.followed = true;
  return decision;
}

void Session::start_scsi(Task& task, proto::Micros now) {
  task.state = TaskState::gathering;
  switch (ask(task, Gate::Passage::begin, now)) {
    case Gate::Decision::proceed:
      if (refuse(task)) return respond(task, now);
      break;
    case Gate::Decision::hold:
      break;
    case Gate::Decision::answer:
      return respond(task, now);
    case Gate::Decision::discard:
      return abort(task);
  }
  go_on_gathering(task, now);
}

/// Whether the command ends before it has begun; then its status is set.
bool Session::refuse(Task& task) {
  constexpr std::uint8_t kOrdered = 2;
  constexpr std::uint8_t kAca = 4;
  constexpr proto::scsi::AdditionalSense kInvalidMessageError{0x49, 0x00};
  task.judged = true;
  // One that the initiator holds for gone must not take what it should be told.
  if (!task.disowned && !ignores_unit_attention(task.plan.operation)) {
    if (const auto sense = take_attention(task.unit)) {
      set_check_condition(task, *sense);
      return true;
    }
  }
  if (task.plan.refusal) {
    set_check_condition(task, *task.plan.refusal);
  } else if (task.command.attribute == kOrdered || task.command.attribute >= kAca) {
    set_check_condition(task, illegal_request(kInvalidMessageError));  // SAM-5 8.6: attributes that are not there
  } else if (task.command.read && task.command.write) {
    set_check_condition(task, illegal_request(proto::scsi::asc::kInvalidFieldInCdb));  // none of ours moves both ways
  } else if (task.no_room) {
    ++server_.counters().task_set_full;
    set_status(task, proto::scsi::Status::task_set_full);
  } else {
    return false;
  }
  return true;
}

void Session::data_arrived(Task& task, proto::Micros now) {
  if (task.state == TaskState::gathering) go_on_gathering(task, now);
}

void Session::go_on_gathering(Task& task, proto::Micros now) {
  if (task.unsolicited_open) return;
  if (task.received >= task.out_length) return make_ready(task, now);
  solicit(task);
}

/// R2Ts for what is missing, in bursts, as many as may be open at a time (section 11.8).
void Session::solicit(Task& task) {
  const std::uint32_t most = std::min(parameters_.max_outstanding_r2t, kMaxOutstandingR2t);
  task.solicited_up_to = std::max(task.solicited_up_to, task.received);
  while (task.solicited_count < most && task.solicited_up_to < task.out_length) {
    if (next_ttt_ == kReservedTag) next_ttt_ = 0;
    Solicited& burst = task.solicited[task.solicited_count++];
    burst = {.ttt = next_ttt_++,
             .offset = task.solicited_up_to,
             .length = std::min(parameters_.max_burst_length, task.out_length - task.solicited_up_to)};
    task.solicited_up_to += burst.length;
    ControlPdu& pdu = task.connection->new_control();
    pdu.consumes_stat_sn = false;
    R2t{.lun = task.command.lun,
        .itt = task.itt,
        .ttt = burst.ttt,
        .r2t_sn = task.r2t_sn++,
        .buffer_offset = burst.offset,
        .desired_length = burst.length}
        .encode(pdu.header);
    task.connection->send(pdu);
  }
}

void Session::make_ready(Task& task, proto::Micros now) {
  task.state = TaskState::ready;
  switch (ask(task, Gate::Passage::execute, now)) {
    case Gate::Decision::proceed:
      return run(task, now);
    case Gate::Decision::hold:
      return;
    case Gate::Decision::answer:
      return respond(task, now);
    case Gate::Decision::discard:
      return abort(task);
  }
}

void Session::run(Task& task, proto::Micros now) {
  if (!task.judged && refuse(task)) return respond(task, now);
  execute_task(task, now);
}

void Session::execute_task(Task& task, proto::Micros now) {
  constexpr std::uint32_t kMaxParameterData = 8192;
  if (task.plan.direction == DataDirection::in && task.command.read) {
    std::uint32_t room = std::min(task.plan.length, task.command.expected_length);
    if (task.plan.operation != Operation::read) room = std::min(room, kMaxParameterData);
    allocate(task, room);
  }
  if (task.no_room) {
    ++server_.counters().task_set_full;
    set_status(task, proto::scsi::Status::task_set_full);
    return respond(task, now);
  }
  Execution execution{.plan = task.plan,
                      .cdb = task.cdb(),
                      .target = *identity_.target,
                      .unit = task.unit,
                      .lun = task.command.lun,
                      .data = task.data,
                      .data_length = task.data_length,
                      .pending = {}};
  if (task.plan.operation == Operation::request_sense) execution.pending = take_attention(task.unit);
  execute(execution);
  ++server_.counters().commands;
  if (execution.status == proto::scsi::Status::check_condition) {
    set_check_condition(task, execution.sense);
  } else {
    set_status(task, execution.status);
    task.moved = execution.moved;
    if (task.plan.direction == DataDirection::in) task.in_length = std::min(execution.moved, task.data_length);
  }
  if (task.in_length == 0) free_data(task);
  respond(task, now);
}

void Session::respond(Task& task, proto::Micros now) {
  task.state = TaskState::executed;
  switch (ask(task, Gate::Passage::respond, now)) {
    case Gate::Decision::proceed:
    case Gate::Decision::answer:
      return queue_response(task);
    case Gate::Decision::hold:
      return;
    case Gate::Decision::discard:
      return abort(task);
  }
}

void Session::queue_response(Task& task) {
  task.state = TaskState::responding;
  task.connection->send(task);
}

void Session::resume(Task& task, proto::Micros now) {
  task.followed = false;
  if (task.state == TaskState::ready) return run(task, now);
  NBDGW_ASSERT(task.state == TaskState::executed, "only a task that was held is resumed");
  queue_response(task);
}

// ---- unit attentions
// ------------------------------------------------------------------------------------------------

namespace {

/// Of the conditions that tell of a reset, how much each says: the less, the more (SAM-5 5.14.2).
enum class ResetRank : std::uint8_t { power_on, any_reset, bus_reset, device_reset, nexus_loss, no_reset };

ResetRank rank_of(proto::scsi::AdditionalSense code) noexcept {
  namespace asc = proto::scsi::asc;
  if (code.asc != asc::kReset) return ResetRank::no_reset;
  if (code == asc::kPowerOn || code == asc::kDeviceInternalReset) return ResetRank::power_on;
  if (code == asc::kPowerOnOrReset) return ResetRank::any_reset;
  if (code == asc::kBusReset) return ResetRank::bus_reset;
  return code == asc::kDeviceReset ? ResetRank::device_reset : ResetRank::nexus_loss;
}

}  // namespace

void Session::establish_attention(const LogicalUnit& unit, proto::scsi::AdditionalSense code) {
  Attentions& pending = attentions_[static_cast<std::size_t>(&unit - identity_.target->units.data())];
  const ResetRank rank = rank_of(code);
  if (rank != ResetRank::no_reset) {
    // A loss of power must not hide behind the reset that follows it; and a reset outdoes all that is none.
    for (std::size_t i = 0; i < pending.count; ++i)
      if (rank_of(pending.codes[i]) <= rank) return;
    pending.count = 0;
  }
  if (pending.count == Attentions::kMax) return;
  for (std::size_t i = 0; i < pending.count; ++i)
    if (pending.codes[i] == code) return;
  pending.codes[pending.count++] = code;
}

std::optional<proto::scsi::Sense> Session::take_attention(const LogicalUnit* unit) {
  if (unit == nullptr) return std::nullopt;
  Attentions& pending = attentions_[static_cast<std::size_t>(unit - identity_.target->units.data())];
  if (pending.count == 0) return std::nullopt;
  const auto code = pending.codes[0];
  std::copy(pending.codes.begin() + 1, pending.codes.begin() + pending.count, pending.codes.begin());
  --pending.count;
  server_.on_attention_told(identity_, *unit, code);
  return make_sense(proto::scsi::SenseKey::unit_attention, code);
}

}  // namespace nbdgw::iscsi_target
