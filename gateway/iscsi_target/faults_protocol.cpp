#include <algorithm>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/faults.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "proto/scsi/lun.hpp"

/// Faults of what is no SCSI command: task management, logins, digests.
namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

namespace {

bool is_about_management(FaultKind kind) noexcept {
  return kind == FaultKind::hang_tmf || kind == FaultKind::refuse_tmf || kind == FaultKind::tmf_lies ||
         kind == FaultKind::late_data;
}

/// The LUN field of a reset of the whole target is reserved (RFC 7143 section 11.5.4).
bool has_lun(TaskManagementFunction function) noexcept {
  return function != TaskManagementFunction::target_warm_reset &&
         function != TaskManagementFunction::target_cold_reset;
}

bool matches_request(const Fault& fault, const Connection& connection, const TaskManagementRequest& request) {
  if (fault.lun && (!has_lun(request.function) || proto::scsi::decode_lun(request.lun) != *fault.lun)) return false;
  if (fault.cid && connection.cid() != *fault.cid) return false;
  return fault.function == 0 || static_cast<std::uint32_t>(request.function) == fault.function;
}

}  // namespace

Gate::Management Faults::manage(Session& session, Connection& connection, const TaskManagementRequest& request,
                                TaskManagementResult& result, proto::Micros now) {
  const auto hit = std::find_if(posted_.begin(), posted_.end(), [&](Posted& each) {
    return each.active && is_about_management(each.fault.kind) && matches_request(each.fault, connection, request) &&
           fire(each);
  });
  if (hit == posted_.end()) return Management::proceed;
  if (hit->fault.kind == FaultKind::hang_tmf) return Management::silence;
  if (hit->fault.kind == FaultKind::late_data) {
    spare(session.named_by(request, connection), hit->id);
    return Management::proceed;
  }
  result = static_cast<TaskManagementResult>(hit->fault.response);
  if (hit->fault.kind == FaultKind::tmf_lies) lie(hit->fault, hit->id, session.named_by(request, connection), now);
  return Management::answer;
}

/// The tasks that the initiator is told are gone run later. Without room for more of them they go at once, truly.
void Faults::lie(const Fault& fault, std::uint32_t id, const std::vector<Task*>& named, proto::Micros now) {
  for (Task* task : named) {
    if (task->state == TaskState::responding) continue;  // its answer has left, or is about to
    auto found = held_.find(task);
    if (found == held_.end()) {
      if (held_.size() >= kMaxHeld) {
        task->session->abort(*task);
        continue;
      }
      hold(*task, id);
      found = held_.find(task);
    }
    Held& held = found->second;
    held.fault = id;
    held.before_execution = task->state != TaskState::executed;
    held.mute = !fault.late_answer;
    held.due = now + proto::Micros{fault.delay_ms} * proto::kMillisecond;
    task->session->disown(*task);
  }
}

std::optional<Gate::LoginAnswer> Faults::refuse_login(const LoginRequest& request) {
  const auto hit = std::find_if(posted_.begin(), posted_.end(), [&](Posted& each) {
    const bool about_logins = each.fault.kind == FaultKind::login_refuse || each.fault.kind == FaultKind::redirect;
    return each.active && about_logins && each.fault.cid.value_or(request.cid) == request.cid && fire(each);
  });
  if (hit == posted_.end()) return std::nullopt;
  const Fault& fault = hit->fault;
  if (fault.kind == FaultKind::login_refuse)
    return LoginAnswer{static_cast<LoginStatus>(fault.status_class << 8 | fault.status_detail), {}};
  const auto status = fault.permanent ? LoginStatus::redirect_permanent : LoginStatus::redirect_temporary;
  return LoginAnswer{status, "TargetAddress=" + fault.to + '\0'};
}

Gate::Damage Faults::damage(const Connection& connection, const Task* task, bool has_header_digest,
                            bool is_data_in_with_digest) {
  const auto hit = std::find_if(posted_.begin(), posted_.end(), [&](Posted& each) {
    const Fault& fault = each.fault;
    if (fault.kind != FaultKind::digest_error || !(fault.in_data ? is_data_in_with_digest : has_header_digest))
      return false;
    const bool about_commands = fault.lun || fault.opcode || fault.group;
    const bool matching =
        task != nullptr ? matches(each, *task)
                        : each.active && !about_commands && fault.cid.value_or(connection.cid()) == connection.cid();
    return matching && fire(each);
  });
  if (hit == posted_.end()) return Damage::none;
  return hit->fault.in_data ? Damage::data_digest : Damage::header_digest;
}

}  // namespace nbdgw::iscsi_target
