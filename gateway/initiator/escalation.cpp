// The rungs (iscsi_eh_abort, _device_reset, _target_reset, _recover_target, _session_reset).
#include "gateway/initiator/escalation.hpp"

#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {

using proto::iscsi::TaskManagementFunction;

namespace {

/// Events that wait to be fetched; the shell fetches them after every turn, so few gather.
constexpr std::size_t kRecoveriesReserved = 64;

RungScope scope_of(Rung rung) noexcept {
  switch (rung) {
    case Rung::timeout:
    case Rung::abort_task:
      return RungScope::task;
    case Rung::abort_task_set:
    case Rung::clear_task_set:
    case Rung::lu_reset:
      return RungScope::lun;
    case Rung::target_warm_reset:
    case Rung::target_cold_reset:
      return RungScope::target;
    case Rung::session_reset:
    case Rung::relogin:
      break;
  }
  return RungScope::session;
}

}  // namespace

bool can_be_asked_for(const RecoveryRequest& request) noexcept {
  if (request.rung == Rung::timeout || request.rung == Rung::relogin) return false;
  return scope_of(request.rung) != RungScope::lun || request.lun != RecoveryEvent::kNoLun;
}

Escalation::Escalation(Session& session) noexcept : session_(session), held_(session) {
  requests_.reserve(kMaxRequests);
  events_.reserve(kRecoveriesReserved);
  const proto::scsi::Cdb cdb = proto::scsi::test_unit_ready();
  std::copy_n(cdb.bytes.begin(), cdb.length, verification_.cdb.begin());
  verification_.cdb_length = cdb.length;
  verification_.looks = true;
  verification_.sink = this;
}

bool Escalation::request(const RecoveryRequest& request) {
  NBDGW_ASSERT(request.id != 0 && can_be_asked_for(request),
               "a rung that can be asked for, and a number to tell it by");
  if (!takes_requests()) return false;
  requests_.push_back(request);
  return true;
}

bool Escalation::takes_requests() const noexcept {
  return requests_.size() < kMaxRequests && session_.state_ == SessionState::logged_in;
}

std::optional<Escalation::Climb> Escalation::climbing() const {
  if (climb_ || lost_at_ == proto::kNever) return climb_;
  return relogin();
}

/// The way back to the session that was lost.
Escalation::Climb Escalation::relogin() const {
  return {.rung = Rung::relogin, .scope = RungScope::session, .cause = lost_why_, .started_at = lost_at_};
}

void Escalation::step(proto::Micros now) {
  if (session_.state_ != SessionState::logged_in) return;
  if (tmf_.state == TmfState::queued) {
    if (tmf_.task != nullptr) return;
    if (climb_->itt == proto::iscsi::kReservedTag || !is_over(*climb_)) {
      send_tmf(now);
      if (tmf_.state != TmfState::initial) return;
    }
    if (!climb_) return;  // the session was dropped instead
    // What it is for has ended before it was sent (iscsi_eh_abort: a command without a task).
    Climb climb = *std::exchange(climb_, std::nullopt);
    tmf_ = {};
    climb.cause += "; it ended before anything was sent";
    tell(climb, RungOutcome::success, 0, now);
  }
  if (tmf_.state != TmfState::initial) tmf_done(now);
  if (verifying()) send_verification(now);
  while (tmf_.state == TmfState::initial && !verifying() && session_.state_ == SessionState::logged_in) {
    if (const auto lun = held_.next_reset()) {
      reset_for_held(*lun, now);
      continue;
    }
    if (!requests_.empty()) {
      const RecoveryRequest request = requests_.front();
      requests_.erase(requests_.begin());
      begin(request, now);
      continue;
    }
    Task* task = next_overdue(now);
    if (task == nullptr) return;
    climb(*task, now);
  }
}

/// Those whose LUN has a pause keep waiting, each for its end.
Task* Escalation::next_overdue(proto::Micros now) noexcept {
  Task* task = session_.running_.first_overdue();
  for (; task != nullptr; task = task->list_next) {
    const proto::Micros until = memory_.paused_until(task->command->lun);
    if (until <= now) break;
    resume_at_ = std::min(resume_at_, until);
  }
  return task;
}

/// That a slow command was slow counts against nobody.
void Escalation::note_climb(Task& task) noexcept {
  std::uint8_t& climbs = task.command->climbs;
  if (!may_be_slow(*task.command) && climbs < 255) ++climbs;
}

/// Begins where the rungs that have not helped end.
void Escalation::climb(Task& task, proto::Micros now) {
  const Rung rung = memory_.first_rung(task, now);
  if (rung == Rung::abort_task) return eh_abort(task, nullptr, "a command is overdue", now);
  Climb climb{.lun = task.command->lun,
              .itt = task.itt,
              .cid = task.connection->cid_,
              .cause = "a command is overdue again, and what was tried before has not helped",
              .started_at = now,
              .for_lun = task.command->lun,
              .slow = may_be_slow(*task.command)};
  note_climb(task);
  if (rung == Rung::lu_reset) return eh_device_reset(std::move(climb), now);
  if (rung == Rung::target_warm_reset) return eh_target_reset(std::move(climb), now);
  eh_session_reset(std::move(climb), now);
}

void Escalation::begin(const RecoveryRequest& request, proto::Micros now) {
  Climb climb{.rung = request.rung,
              .scope = scope_of(request.rung),
              .lun = scope_of(request.rung) == RungScope::lun ? request.lun : RecoveryEvent::kNoLun,
              .request_id = request.id,
              .cause = "asked for by hand",
              .started_at = now};
  switch (request.rung) {
    case Rung::abort_task: {
      Task* task = session_.tasks_.itt_to_ctask(request.itt);
      if (task == nullptr) return tell(climb, RungOutcome::not_found, 0, now);
      return eh_abort(*task, &request, std::move(climb.cause), now);
    }
    case Rung::abort_task_set:
      return exec_task_mgmt_fn(std::move(climb), TaskManagementFunction::abort_task_set, nullptr, now);
    case Rung::clear_task_set:
      return exec_task_mgmt_fn(std::move(climb), TaskManagementFunction::clear_task_set, nullptr, now);
    case Rung::lu_reset:
      return eh_device_reset(std::move(climb), now);
    case Rung::target_warm_reset:
      return eh_target_reset(std::move(climb), now);
    case Rung::target_cold_reset:
      return exec_task_mgmt_fn(std::move(climb), TaskManagementFunction::target_cold_reset, nullptr, now);
    case Rung::session_reset:
      return eh_session_reset(std::move(climb), now);
    case Rung::timeout:
    case Rung::relogin:
      break;
  }
}

/// A command that was never sent has no task, and needs no abort: it is not with the target.
void Escalation::eh_abort(Task& task, const RecoveryRequest* request, std::string cause, proto::Micros now) {
  Climb climb{.rung = Rung::abort_task,
              .scope = RungScope::task,
              .lun = task.command->lun,
              .itt = task.itt,
              .cid = task.connection->cid_,
              .request_id = request != nullptr ? request->id : 0,
              .cause = std::move(cause),
              .started_at = now,
              .for_lun = task.command->lun,
              .slow = may_be_slow(*task.command)};
  if (request == nullptr) note_climb(task);
  exec_task_mgmt_fn(std::move(climb), TaskManagementFunction::abort_task, &task, now);
}

void Escalation::eh_device_reset(Climb climb, proto::Micros now) {
  climb.rung = Rung::lu_reset;
  climb.scope = RungScope::lun;
  climb.lun = climb.for_lun != RecoveryEvent::kNoLun ? climb.for_lun : climb.lun;
  const bool ours = climb.request_id == 0 && !climb.for_held && !climb.again;
  if (ours && memory_.must_pause(climb.for_lun, session_.random_, now)) {
    resume_at_ = std::min(resume_at_, memory_.paused_until(climb.for_lun));
    return;
  }
  exec_task_mgmt_fn(std::move(climb), TaskManagementFunction::logical_unit_reset, nullptr, now);
}

void Escalation::eh_target_reset(Climb climb, proto::Micros now) {
  climb.rung = Rung::target_warm_reset;
  climb.scope = RungScope::target;
  climb.lun = RecoveryEvent::kNoLun;
  exec_task_mgmt_fn(std::move(climb), TaskManagementFunction::target_warm_reset, nullptr, now);
}

/// Writes of a lost session may still be at work at this LUN.
void Escalation::reset_for_held(std::uint64_t lun, proto::Micros now) {
  eh_device_reset({.lun = lun,
                   .cause = "writes were under way when the session was lost",
                   .started_at = now,
                   .for_held = true,
                   .for_lun = lun},
                  now);
}

/// Target reset; what follows if it is refused, tmf_done() knows.
void Escalation::eh_recover_target(Climb climb, proto::Micros now) {
  eh_target_reset(std::move(climb), now);
}

void Escalation::eh_session_reset(Climb climb, proto::Micros now) {
  climb.rung = Rung::session_reset;
  climb.scope = RungScope::session;
  climb.lun = RecoveryEvent::kNoLun;
  climb.started_at = now;
  remember(climb);
  // However much else the session did: it did not what it must, so the next login waits longer.
  if (climb.for_held) session_.progress_ = false;
  const auto tasks = session_.scsi_tasks_running();
  tell(climb, RungOutcome::success, tasks, now);
  Connection& connection = *session_.connections_[climb.cid];
  Connection& dropped = connection.state_ == ConnectionState::started ? connection : *session_.connections_[0];
  dropped.detail_ = climb.cause;
  dropped.failure(ConnectionError::session_reset, now);
}

/// Whether what the rung was climbed for is over; true as well where it was for nothing.
bool Escalation::is_over(const Climb& climb) const noexcept {
  if (climb.for_held) return !held_.awaits_reset(climb.for_lun);
  if (climb.unanswered) return false;
  return climb.itt == proto::iscsi::kReservedTag || session_.tasks_.itt_to_ctask(climb.itt) == nullptr;
}

void Escalation::tmf_done(proto::Micros now) {
  const TmfState state = tmf_.state;
  Climb climb = *std::exchange(climb_, std::nullopt);
  if (state == TmfState::timedout) {
    // Nothing is known of what the target does now: only a new login ends it. The state stays until then, so that
    // nothing slips through.
    tell(climb, RungOutcome::timed_out, 0, now);
    climb.cause = std::string(to_string(climb.rung)) + " was not answered in time";
    climb.request_id = 0;  // its event has been told
    return eh_session_reset(std::move(climb), now);
  }
  if (state == TmfState::success || (state == TmfState::not_found && NBDGW_MUTANT(denied_abort_proves))) {
    return tmf_succeeded(std::move(climb), now);
  }
  tmf_ = {};
  if (climb.rung == Rung::abort_task && is_over(climb)) return tell(climb, RungOutcome::success, 0, now);
  const bool not_found = state == TmfState::not_found;
  tell(climb, not_found ? RungOutcome::not_found : RungOutcome::refused, 0, now);
  climb_on(std::move(climb), not_found ? "was answered \"task does not exist\", which proves nothing" : "was refused",
           now);
}

/// The function completed. What it covers, the target has forgotten; but only what cannot reach it any more stays so.
void Escalation::tmf_succeeded(Climb climb, proto::Micros now) {
  std::string proof;
  const bool proves = !tmf_.data_flowed && !tmf_.unasked;
  std::uint32_t tasks = proves ? end_covered_tasks(proof) : 0;
  if (ends_all_nexuses()) {
    tasks += held_.on_reset(climb.lun, tmf_.function, proof);
    session_.join_connections(now);
  }
  // Also of a reset for what is held, before all commands of the session: the unit attention that it may raise is
  // ours, and is not to be taken for a loss of power.
  if (climb.rung == Rung::lu_reset || climb.rung == Rung::target_warm_reset) session_.tell_unit_reset(climb.lun);
  const bool again = tmf_.data_flowed && is_about_tasks();
  if (!proves) {
    climb.cause += tmf_.data_flowed ? "; data flowed meanwhile, so it proves nothing, and no task is handed back"
                                    : "; without pings it proves nothing, and no task is handed back";
  }
  tmf_ = {};
  tell(climb, RungOutcome::success, tasks, now, std::move(proof));
  if (climb.request_id != 0) return;
  if (again) {
    climb.again = true;
    climb.cause = std::string(to_string(climb.rung)) + " completed while data flowed";
    return climb.rung == Rung::lu_reset ? eh_device_reset(std::move(climb), now)
                                        : eh_target_reset(std::move(climb), now);
  }
  remember(climb);
  if (is_over(climb) || climb.unanswered) return verify(std::move(climb), now);
  climb_on(std::move(climb), "did not cover the task: it may not have reached the target", now);
}

void Escalation::climb_on(Climb climb, const char* answer, proto::Micros now) {
  if (climb.request_id != 0 || is_over(climb)) return;
  climb.cause = std::string(to_string(climb.rung)) + " " + answer;
  climb.again = false;
  switch (climb.rung) {
    case Rung::abort_task:
      return eh_device_reset(std::move(climb), now);
    case Rung::lu_reset:
      return eh_recover_target(std::move(climb), now);
    default:
      return eh_session_reset(std::move(climb), now);
  }
}

/// Returns how many tasks that were.
std::uint32_t Escalation::end_covered_tasks(std::string& text) {
  const Proof proof(Proof::Kind::task_management, session_.group_.number(), tmf_.function, tmf_.round);
  for (const auto& connection : session_.connections_) connection->suspend_tx();
  std::uint32_t count = 0;
  Task* next = nullptr;
  for (Task* task = session_.running_.front(); task != nullptr; task = next) {
    next = task->list_next;
    if (!in_scope(*task)) continue;
    const bool one = tmf_.function == TaskManagementFunction::abort_task;
    if (!one && !proto::serial_less(task->cmd_sn, tmf_.covers_below)) continue;
    session_.abort_scsi_task(*task, proof);
    ++count;
  }
  if (count > 0) text = proof.text();
  for (const auto& connection : session_.connections_) connection->start_tx();
  return count;
}

void Escalation::on_session_lost(const std::string& why, std::uint32_t tasks, proto::Micros now) {
  if (climb_ && !verifying()) tell(*climb_, RungOutcome::failed, 0, now);
  climb_.reset();
  verify_deadline_ = proto::kNever;
  for (const RecoveryRequest& request : requests_) {
    tell({.rung = request.rung,
          .scope = scope_of(request.rung),
          .lun = request.lun,
          .request_id = request.id,
          .cause = why,
          .started_at = now},
         RungOutcome::failed, 0, now);
  }
  requests_.clear();
  if (tmf_.task != nullptr) session_.complete_task(*tmf_.task, TaskState::abrt_sess_recov);
  tmf_ = {};
  held_.on_session_lost();
  hole_deadline_ = resume_at_ = proto::kNever;
  commands_blocked(false, now);
  if (lost_at_ != proto::kNever) return;
  lost_at_ = now;
  lost_why_ = why;
  lost_tasks_ = tasks;
}

void Escalation::on_session_up(proto::Micros now) {
  std::string proof;
  memory_.on_session_up(session_.cmd_sn_);
  held_.on_session_up(session_.group_, proof);
  if (lost_at_ == proto::kNever) return;
  tell(relogin(), RungOutcome::success, lost_tasks_, now, std::move(proof));
  lost_at_ = proto::kNever;
}

void Escalation::tell(const Climb& climb, RungOutcome outcome, std::uint32_t tasks, proto::Micros now,
                      std::string proof) {
  const auto rung = static_cast<std::size_t>(climb.rung);
  ++session_.counters_.rungs[rung][static_cast<std::size_t>(outcome)];
  session_.counters_.rung_durations[rung].add(now - climb.started_at);
  events_.push_back({.ended_at = now,
                     .duration = now - climb.started_at,
                     .tsih = session_.tsih_,
                     .cid = climb.cid,
                     .lun = climb.lun,
                     .rung = climb.rung,
                     .scope = climb.scope,
                     .outcome = outcome,
                     .tasks = tasks,
                     .request_id = climb.request_id,
                     .cause = climb.cause,
                     .proof = std::move(proof)});
  session_.bell_.ring();
}

bool Escalation::next_event(RecoveryEvent& event) {
  if (events_.empty()) return false;
  event = std::move(events_.front());
  events_.erase(events_.begin());
  return true;
}

}  // namespace nbdgw::initiator
