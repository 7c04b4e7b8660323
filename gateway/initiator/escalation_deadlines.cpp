// When a command that is not answered is a matter for the ladder (iscsi_eh_cmd_timed_out).
#include <algorithm>
#include <string>

#include "gateway/initiator/session.hpp"
#include "proto/mutant.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {
namespace {

/// Commands ahead of one that was rejected may still be on their way over other connections.
constexpr proto::Micros kHolePatience = proto::kSecond;

std::string seconds(proto::Micros duration) {
  const auto tenths = duration / (proto::kSecond / 10);
  return std::to_string(tenths / 10) + (tenths % 10 != 0 ? "." + std::to_string(tenths % 10) : "") + " s";
}

}  // namespace

proto::Micros Escalation::next_deadline() const noexcept {
  if (session_.state_ != SessionState::logged_in) return proto::kNever;
  // Pairs: this is asked in every turn, and a list is a loop.
  const proto::Micros function = NBDGW_MUTANT(function_without_deadline) ? proto::kNever : tmf_.deadline;
  const proto::Micros rung = std::min(function, std::min(verify_deadline_, resume_at_));
  proto::Micros deadline = std::min(rung, std::min(window_deadline_, hole_deadline_));
  if (const Task* task = session_.running_.front()) deadline = std::min(deadline, task->deadline);
  return deadline;
}

void Escalation::on_deadline(proto::Micros now) {
  if (session_.state_ != SessionState::logged_in) return;
  if (tmf_.state == TmfState::queued && now >= tmf_.deadline) {
    tmf_.state = TmfState::timedout;
    tmf_.deadline = proto::kNever;
  }
  if (now >= resume_at_) resume_at_ = proto::kNever;  // step() goes on
  check_commands(now);
  check_verification(now);
  check_hole(now);
  check_window(now);
}

/// What is rejected is not received (RFC 7143 section 7.3), so the target may wait for its CmdSN, and everything
/// behind it would die by deadline. Others take the number for used. What is true, ExpCmdSN tells.
void Escalation::on_rejected(std::uint32_t cmd_sn, proto::Micros now) noexcept {
  if (proto::serial_less(cmd_sn, session_.exp_cmd_sn_) || NBDGW_MUTANT(hole_not_noticed)) return;
  const bool first = hole_deadline_ == proto::kNever;
  if (first || proto::serial_less(last_rejected_, cmd_sn)) last_rejected_ = cmd_sn;
  last_rejected_at_ = now;
  if (!first && proto::serial_less(hole_, cmd_sn)) return;  // the first one decides
  hole_ = cmd_sn;
  if (first) hole_deadline_ = now + kHolePatience;
}

void Escalation::check_hole(proto::Micros now) {
  if (now < hole_deadline_) return;
  hole_deadline_ = proto::kNever;
  if (session_.state_ != SessionState::logged_in) return;
  if (proto::serial_less(hole_, session_.exp_cmd_sn_)) {
    // So it was none. Of what was rejected after it nobody knows yet.
    if (proto::serial_less(last_rejected_, session_.exp_cmd_sn_)) return;
    hole_ = last_rejected_;
    hole_deadline_ = std::max(now + 1, last_rejected_at_ + kHolePatience);
    return;
  }
  eh_session_reset({.rung = Rung::session_reset,
                    .scope = RungScope::session,
                    .cause = "the target has rejected a command, and waits for another one in its place (CmdSN " +
                             std::to_string(hole_) + ")",
                    .started_at = now},
                   now);
}

/// How much longer the task may take, or nothing: it is overdue.
std::optional<proto::Micros> Escalation::eh_cmd_timed_out(Task& task, proto::Micros now) {
  const SessionSettings& settings = session_.settings_;
  if (task.last_transfer_at > task.armed_at) {
    task.checked_connection = false;
    return time_for(*task.command, settings);
  }
  if (task.doomed) return std::nullopt;
  if (settings.nop_interval == 0) return std::nullopt;  // nobody may ask the connection for a sign of life
  // A target works through its commands: while those before this one move, this one is only in the queue.
  if (older_task_progressed(task)) return time_for(*task.command, settings);
  if (task.checked_connection) return std::nullopt;
  // The connection is asked, once. If it is dead, the missing answer ends it, and with it this task.
  task.checked_connection = true;
  if (task.connection->ping_ == nullptr) task.connection->send_ping(now);
  return settings.nop_timeout;
}

void Escalation::on_sign_of_life(const Connection& connection, proto::Micros now) noexcept {
  if (NBDGW_MUTANT(pong_waits_its_time_out)) return;
  Task* next = nullptr;
  for (Task* task = session_.running_.front(); task != nullptr && !task->overdue; task = next) {
    next = task->list_next;
    if (task->connection != &connection || !task->checked_connection || task->deadline <= now) continue;
    if (task->last_transfer_at > task->armed_at) continue;
    session_.running_.remove(*task);
    task->deadline = now;
    session_.running_.insert(*task);
  }
}

bool Escalation::older_task_progressed(const Task& task) const noexcept {
  for (const Task* other = session_.running_.front(); other != nullptr; other = other->list_next) {
    if (proto::serial_less(other->cmd_sn, task.cmd_sn) && other->last_transfer_at > task.armed_at) return true;
  }
  return false;
}

void Escalation::check_commands(proto::Micros now) {
  Climb first{.rung = Rung::timeout, .scope = RungScope::task, .started_at = now};
  std::uint32_t count = 0;
  while (Task* task = session_.running_.front()) {
    if (now < task->deadline) break;
    session_.running_.remove(*task);
    const auto longer = eh_cmd_timed_out(*task, now);
    if (longer) {
      task->deadline = now + *longer;
      task->armed_at = now;
    } else {
      task->deadline = proto::kNever;
      task->overdue = true;
      task->command->overdue = true;
      ++session_.counters_.commands_timed_out;
      if (count++ == 0) {
        first.lun = task->command->lun;
        first.cid = task->connection->cid_;
        first.cause = "no answer for " + seconds(now - task->started_at);
        first.started_at = task->started_at;
      }
    }
    session_.running_.insert(*task);
  }
  if (count > 0) tell(first, RungOutcome::success, count, now);
}

void Escalation::commands_blocked(bool blocked, proto::Micros now) noexcept {
  if (blocked == (blocked_since_ != proto::kNever)) return;
  blocked_since_ = blocked ? now : proto::kNever;
  window_deadline_ = blocked ? now + session_.settings_.command_timeout : proto::kNever;
  window_checked_ = false;
}

/// Commands wait although none is under way, because the command window stays closed, or because the data of ended
/// tasks cannot leave: there is nothing to be aborted, and only a new login can help.
void Escalation::check_window(proto::Micros now) {
  if (now < window_deadline_) return;
  const SessionSettings& settings = session_.settings_;
  if (tmf_.state != TmfState::initial || session_.running_.front() != nullptr) {
    window_deadline_ = now + settings.command_timeout;
    window_checked_ = false;
    return;
  }
  if (!window_checked_ && settings.nop_interval > 0) {
    window_checked_ = true;
    Connection& leading = *session_.connections_[0];
    if (leading.ping_ == nullptr) leading.send_ping(now);
    window_deadline_ = now + settings.nop_timeout;
    return;
  }
  Climb climb{
      .rung = Rung::session_reset,
      .scope = RungScope::session,
      .cause = (session_.window_open() ? "no task was free for " : "the target's command window stayed closed for ") +
               seconds(now - blocked_since_) + " with no command under way",
      .started_at = now};
  eh_session_reset(std::move(climb), now);
}

}  // namespace nbdgw::initiator
