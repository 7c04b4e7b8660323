#include "tests/sim/target/task_functions.hpp"

#include <algorithm>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {
namespace {

bool is_abort_set(std::uint8_t function) noexcept {
  return function == pdu::kAbortTaskSet || function == pdu::kClearTaskSet;
}
bool is_target_reset(std::uint8_t function) noexcept {
  return function == pdu::kWarmReset || function == pdu::kColdReset;
}

/// Which hanging units it helps.
std::uint8_t strength_of(std::uint8_t function) noexcept {
  if (is_target_reset(function)) return LogicalUnit::kCuredByTargetReset;
  return function == pdu::kLunReset ? LogicalUnit::kCuredByUnitReset : LogicalUnit::kCuredByAbort;
}

}  // namespace

void TaskFunctions::receive(TargetSession& session, TargetConnection& connection, const pdu::Request& request) {
  const std::uint8_t code = request.bhs[1] & 0x7f;
  const std::uint32_t referenced_sn = be32(request.bhs + 32);
  const bool abort = code == pdu::kAbortTask;
  const CommandRecord* const record = abort ? session.record_of(referenced_sn) : nullptr;
  const TargetCommand* const referenced = abort ? session.find(request.ttt()) : nullptr;
  array_.checker.on_function(connection, request, referenced, record);
  ++session.functions;
  TargetObserver* const observer = array_.options.observer;
  if (referenced != nullptr && observer != nullptr) observer->on_abort(array_.commands, *referenced);
  const FunctionSeen seen{.session = session.number(),
                          .itt = request.itt(),
                          .function = code,
                          .operation = referenced != nullptr ? referenced->cdb[0] : std::uint8_t{0xff},
                          .lun = request.lun(),
                          .age = record != nullptr ? array_.now() - record->at : -1};
  if (observer != nullptr) observer->on_function(array_.commands, seen);
  if (array_.faults.strikes(Fault::function_pdu_rejected)) {
    return connection.reject(pdu::kImmediateRejected, request.bhs);
  }
  ++session.functions_out;
  if (array_.faults.strikes(Fault::function_unanswered)) return;
  running_.push_back(std::make_unique<RunningFunction>());
  RunningFunction& function = *running_.back();
  function.session = &session;
  function.connection = &connection;
  function.itt = request.itt();
  function.function = code;
  function.seen = seen;
  function.unit = array_.units.find(request.lun());
  if (!draw_failure(function, request)) begin(function, request);
  function.begun = true;
  if (function.waits_for == 0) finish(function);
}

/// Whether it comes to nothing at all.
bool TaskFunctions::draw_failure(RunningFunction& function, const pdu::Request& request) {
  FaultDesk& faults = array_.faults;
  const bool abort = function.function == pdu::kAbortTask;
  const bool known = abort || is_abort_set(function.function) || function.function == pdu::kLunReset ||
                     (is_target_reset(function.function) && array_.habits().resets_target);
  if (!known) {
    function.response = pdu::kNotSupported;
  } else if (!is_target_reset(function.function) && function.unit == nullptr) {
    function.response = pdu::kNoSuchLun;
  } else if (faults.strikes(Fault::function_refused)) {
    function.response = faults.random(Fault::function_refused).pick({pdu::kNotSupported, pdu::kFunctionRejected});
  } else if (abort && function.session->find(request.ttt()) != nullptr && faults.strikes(Fault::function_denied)) {
    function.response = pdu::kNoSuchTask;
  } else {
    return false;
  }
  return true;
}

void TaskFunctions::begin(RunningFunction& function, const pdu::Request& request) {
  function.late_data = array_.faults.strikes(Fault::function_late_data);
  function.lies = array_.faults.strikes(Fault::function_lies);
  if (function.function == pdu::kAbortTask) {
    abort_task(function, request);
  } else {
    end_tasks(function);
    after_reset(function);
  }
  if (function.response != pdu::kComplete) return;
  for (const auto& unit : array_.units.all()) {
    const bool concerned = is_target_reset(function.function) || unit.get() == function.unit;
    if (concerned && unit->cure(strength_of(function.function))) array_.executor.on_unit_cured(*unit);
  }
}

void TaskFunctions::abort_task(RunningFunction& function, const pdu::Request& request) {
  TargetSession& session = *function.session;
  TargetCommand* const command = session.find(request.ttt());
  if (command != nullptr && command->connection == function.connection) {
    if (!array_.executor.stop(*command, function)) function.response = pdu::kNoSuchTask;
    return;
  }
  // One that has not come may be on its way: then its number counts as received (RFC 7143 section 11.5.1).
  const std::uint32_t number = be32(request.bhs + 32);
  const bool may_come = !comes_before(number, session.exp_cmd_sn()) && !comes_before(session.max_cmd_sn(), number) &&
                        !session.has_parked(number);
  if (may_come) {
    session.fill(number);
  } else {
    function.response = pdu::kNoSuchTask;
  }
}

void TaskFunctions::end_tasks(RunningFunction& function) {
  TargetCommand* next = nullptr;
  for (TargetCommand* command = array_.commands.first(); command != nullptr; command = next) {
    next = command->behind;
    // What has not had its turn yet has no unit.
    const LogicalUnit* const unit = command->unit != nullptr ? command->unit : array_.units.find(command->lun);
    if (!is_target_reset(function.function) && unit != function.unit) continue;
    const bool own = command->origin.session == function.session->number();
    if (function.function == pdu::kAbortTaskSet && !own) continue;
    array_.executor.stop(*command, function);
  }
}

/// What other sessions are told.
void TaskFunctions::after_reset(RunningFunction& function) {
  if (function.function == pdu::kAbortTaskSet) return;
  const std::uint32_t self = array_.habits().own_attention ? 0 : function.session->number();
  const bool clears = function.function == pdu::kClearTaskSet;
  const bool whole = is_target_reset(function.function);
  for (const auto& unit : array_.units.all()) {
    const bool this_one = whole || unit.get() == function.unit;
    unit->on_own_reset(function.session->number(), this_one && !clears);
    if (!this_one) continue;
    if (clears) {
      unit->raise(scsi::kCommandsCleared, function.session->number());
    } else {
      unit->raise(whole || array_.habits().own_attention ? scsi::kPowerOnOrReset : scsi::kUnitReset, self);
    }
  }
  const bool reset = function.function == pdu::kLunReset || function.function == pdu::kWarmReset;
  if (reset && array_.faults.strikes(Fault::reset_closes_others)) close_others(function);
}

void TaskFunctions::close_others(RunningFunction& function) {
  const std::vector<TargetConnection*> connections = function.session->connections();
  for (TargetConnection* connection : connections) {
    if (connection != function.connection) connection->drop(Cut::close);
  }
}

void TaskFunctions::command_over(RunningFunction& function) {
  if (--function.waits_for == 0 && function.begun) finish(function);
}

/// The answer never leaves within the step that has ended the last command.
void TaskFunctions::finish(RunningFunction& function) {
  Micros delay = array_.random.between(1, array_.habits().slowest);
  if (array_.faults.strikes(Fault::function_slow)) delay += array_.faults.delay(Fault::function_slow);
  array_.after(delay, [this, &function] { answer(function); });
}

void TaskFunctions::answer(RunningFunction& function) {
  TargetConnection* const connection = function.connection;
  TargetSession* const session = function.session;
  if (function.response == pdu::kComplete && connection != nullptr) {
    for (const std::uint32_t record : function.records) array_.commands.record(record).fate = Fate::aborted;
    for (TargetCommand* command = array_.commands.first(); command != nullptr; command = command->behind) {
      if (command->detached && std::ranges::count(function.records, command->origin.record) > 0) {
        command->origin.fate = Fate::aborted;
      }
    }
  }
  if (connection != nullptr) {
    pdu::Header bhs = pdu::begin(pdu::kTaskManagementResponse, function.itt);
    bhs[2] = function.response;
    connection->stamp(bhs, true);
    connection->emit(bhs);
    --session->functions_out;
    TargetObserver* const observer = array_.options.observer;
    if (observer != nullptr) observer->on_function_answered(array_.commands, function.seen, function.response);
  }
  const bool cold = function.function == pdu::kColdReset && function.response == pdu::kComplete;
  std::erase_if(running_, [&](const auto& each) { return each.get() == &function; });
  if (!cold) return;
  for (const auto& each : array_.sessions) array_.end_session(*each, Cut::close);
}

void TaskFunctions::on_connection_lost(const TargetConnection& connection) noexcept {
  for (const auto& function : running_) {
    if (function->connection == &connection) function->connection = nullptr;
  }
}

void TaskFunctions::on_session_lost(const TargetSession& session) noexcept {
  for (const auto& function : running_) {
    if (function->session == &session) function->session = nullptr;
  }
}

}  // namespace nbdgw::sim
