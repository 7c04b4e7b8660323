#include <algorithm>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "gateway/iscsi_target/session.hpp"

/// Task management (RFC 7143 section 11.5, SAM-5 7). What is aborted gets no answer, and none that was not begun
/// leaves after the response. Data-Out that the initiator still sends for it is dropped; the target does not wait for
/// it.
namespace nbdgw::iscsi_target {

using namespace proto::iscsi;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;

namespace {

bool is_about_one_task(Function function) noexcept {
  return function == Function::abort_task || function == Function::task_reassign;
}

bool is_about_one_unit(Function function) noexcept {
  return function == Function::abort_task_set || function == Function::clear_task_set ||
         function == Function::clear_aca || function == Function::logical_unit_reset;
}

}  // namespace

/// A function that covers all commands before it, which have not all come in yet (section 4.2.2.1, 11.5.1): it waits
/// until they have. If their connection died it will wait forever, and the initiator has to reinstate the session.
bool Session::must_wait(const TaskManagementRequest& request, const Connection& connection) const {
  const bool before_others = !is_about_one_task(request.function) && request.immediate &&
                             proto::serial_less(exp_cmd_sn_, request.cmd_sn) &&
                             proto::serial_less_equal(request.cmd_sn, max_cmd_sn() + 1);
  return before_others ||
         (!is_discovery() && server_.gate() != nullptr && server_.gate()->delays(*this, connection, request));
}

void Session::manage(Task& task, proto::Micros now) {
  const auto request = TaskManagementRequest::decode(task.request);
  if (must_wait(request, *task.connection)) {
    task.state = TaskState::parked;
    postponed_.push_back(&task);
    return;
  }
  Connection& connection = *task.connection;
  release(task);
  if (is_discovery()) return connection.violation("task management in a discovery session");
  auto management = Gate::Management::proceed;
  Result result{};
  if (server_.gate() != nullptr) management = server_.gate()->manage(*this, connection, request, result, now);
  if (management == Gate::Management::silence) return;
  if (management == Gate::Management::proceed) result = run_function(request, connection);
  ControlPdu& answer = connection.new_control();
  TaskManagementResponse{.response = result, .itt = request.itt}.encode(answer.header);
  connection.send(answer);
  if (management == Gate::Management::proceed && request.function == Function::target_cold_reset) {
    std::vector<Session*> sessions;
    for (const auto& [tsih, session] : server_.sessions())
      if (session->identity_.target == identity_.target) sessions.push_back(session.get());
    for (Session* session : sessions) session->close("the target was reset");
  } else if (!is_closed()) {
    drain(now);  // the number of an aborted command may have been the one that others wait for
  }
}

/// False: none is due.
bool Session::run_postponed(proto::Micros now) {
  const auto due = std::find_if(postponed_.begin(), postponed_.end(), [&](Task* task) {
    return !must_wait(TaskManagementRequest::decode(task->request), *task->connection);
  });
  if (due == postponed_.end()) return false;
  Task& task = **due;
  postponed_.erase(due);
  manage(task, now);
  return true;
}

Result Session::run_function(const TaskManagementRequest& request, Connection& connection) {
  const LogicalUnit* unit = nullptr;
  if (is_about_one_unit(request.function) || request.function == Function::abort_task) {
    unit = identity_.target->find(request.lun);
    if (unit == nullptr) return Result::lun_does_not_exist;
  }
  switch (request.function) {
    case Function::abort_task:
      return abort_one(request, connection);
    case Function::abort_task_set:
      abort_task_set(unit);
      return Result::complete;
    case Function::clear_task_set:
    case Function::logical_unit_reset:
    case Function::target_warm_reset:
    case Function::target_cold_reset:
      for (const auto& [tsih, session] : server_.sessions())
        if (session->identity_.target == identity_.target) session->suffer(request.function, unit, *this);
      return Result::complete;
    case Function::task_reassign:
      return Result::reassign_not_supported;
    case Function::clear_aca:
      return Result::not_supported;
  }
  return Result::not_supported;
}

/// What a function that reaches all sessions does to this one (SAM-5 7.4 to 7.7, table of unit attentions).
void Session::suffer(Function function, const LogicalUnit* unit, const Session& issuer) {
  abort_task_set(unit);
  if (function == Function::clear_task_set) {
    if (this != &issuer) establish_attention(*unit, proto::scsi::asc::kCommandsClearedByAnother);
    return;
  }
  for (const LogicalUnit& each : identity_.target->units)
    if (unit == nullptr || unit == &each) establish_attention(each, proto::scsi::asc::kDeviceReset);
}

void Session::abort_task_set(const LogicalUnit* unit) {
  for (Task* task = tasks_.first(); task != nullptr;) {
    Task* following = task->next;
    if (task->in_task_set() && !task->spared && (unit == nullptr || task->unit == unit)) abort(*task);
    task = following;
  }
}

/// Section 11.5.1: only on the connection that the command has its allegiance to.
Task* Session::find_referenced(const TaskManagementRequest& request, const Connection& connection) const {
  Task* task = table_.find(request.referenced_task_tag);
  const bool found = task != nullptr && task->is_scsi() && !task->spared && task->connection == &connection &&
                     task->command.lun == request.lun;
  return found ? task : nullptr;
}

std::vector<Task*> Session::named_by(const TaskManagementRequest& request, const Connection& connection) const {
  std::vector<Task*> named;
  if (request.function == Function::abort_task) {
    Task* task = find_referenced(request, connection);
    if (task != nullptr && task->in_task_set()) named.push_back(task);
    return named;
  }
  const LogicalUnit* unit = identity_.target->find(request.lun);
  if (is_about_one_unit(request.function) && unit == nullptr) return named;
  for (const auto& [tsih, session] : server_.sessions()) {
    if (session->identity_.target != identity_.target) continue;
    if (request.function == Function::abort_task_set && session.get() != this) continue;
    for (Task* task = session->tasks_.first(); task != nullptr; task = task->next)
      if (task->in_task_set() && !task->spared && (!is_about_one_unit(request.function) || task->unit == unit))
        named.push_back(task);
  }
  return named;
}

Result Session::abort_one(const TaskManagementRequest& request, Connection& connection) {
  Task* task = find_referenced(request, connection);
  if (task != nullptr) {
    if (!task->immediate && task->cmd_sn != request.ref_cmd_sn) return Result::rejected;
    abort(*task);
    return Result::complete;
  }
  // A command that has not come in: its number counts as received from now on, and what comes with it is ignored.
  if (in_window(request.ref_cmd_sn) && proto::serial_less(request.ref_cmd_sn, request.cmd_sn) &&
      !parked(request.ref_cmd_sn).taken) {
    parked(request.ref_cmd_sn) = {true, nullptr};
    return Result::complete;
  }
  return Result::task_does_not_exist;
}

}  // namespace nbdgw::iscsi_target
