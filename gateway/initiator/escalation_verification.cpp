// Whether a rung has helped, and what else answers tell of LUNs in trouble.
#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/sense.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {
namespace {

/// The answers of commands that were ended together with a reset by others may still be on their way.
constexpr proto::Micros kDoomedPatience = proto::kSecond;

}  // namespace

/// The rung completed, and what it was for is over. Whether the LUN works again is seen by its answer to a TEST UNIT
/// READY, or to whatever else was sent after the rung.
void Escalation::verify(Climb climb, proto::Micros now) {
  if (climb.request_id != 0 || climb.for_held || climb.for_lun == RecoveryEvent::kNoLun) return;
  if (memory_.left_alone(climb.for_lun) || NBDGW_MUTANT(rung_not_looked_at)) return;
  if (verification_lent_ && verification_.lun != climb.for_lun) return;  // another LUN has not answered it yet
  verify_deadline_ = now + session_.settings_.abort_timeout;
  verify_since_ = session_.cmd_sn_;
  verification_.lun = climb.for_lun;
  verification_is_older_ = verification_lent_;
  climb_ = std::move(climb);
  send_verification(now);
}

/// Ahead of the commands that wait, which a LUN that was reset is not given before.
void Escalation::send_verification(proto::Micros now) {
  if (verification_lent_ || !session_.window_open()) return;
  Connection* connection = session_.pick_connection();
  Task* task = connection != nullptr ? session_.tasks_.alloc(TaskKind::scsi) : nullptr;
  if (task == nullptr) return;
  verification_.outcome = Outcome::pending;
  verification_.status = 0;
  verification_.sense_length = 0;
  verification_.overdue = false;
  verification_.climbs = 0;
  verification_.proof.reset();
  verification_lent_ = true;
  session_.start_command(verification_, *task, *connection, now);
}

void Escalation::check_verification(proto::Micros now) {
  if (now < verify_deadline_) return;
  verify_deadline_ = proto::kNever;
  Climb climb = *std::exchange(climb_, std::nullopt);
  climb.unanswered = true;
  climb.slow = false;
  remember(climb);
  climb_on(std::move(climb), "was answered \"complete\", but the LUN does not answer TEST UNIT READY", now);
}

void Escalation::on_command_done(ScsiCommand& command, proto::Micros now) {
  verification_lent_ = false;
  const bool older = std::exchange(verification_is_older_, false);
  const bool answered = command.outcome == Outcome::completed || command.outcome == Outcome::bad_target;
  // A unit attention is told to one command: to this one, perhaps, and then somebody waits for it.
  if (command.outcome == Outcome::completed) session_.tell_unit_answer(command);
  if (!verifying() || climb_->for_lun != command.lun || !answered) return;
  // Asked before the rung, it says nothing of it. The LUN is asked again, and has its time for that.
  if (older) {
    verify_deadline_ = now + session_.settings_.abort_timeout;
    return step(now);
  }
  verify_deadline_ = proto::kNever;
  climb_.reset();
  step(now);
}

void Escalation::on_answer(const Task& task, Outcome outcome) noexcept {
  const ScsiCommand& command = *task.command;
  if (verifying() && &command != &verification_ && command.lun == climb_->for_lun &&
      !proto::serial_less(task.cmd_sn, verify_since_)) {
    // It answers; whatever keeps the TEST UNIT READY.
    verify_deadline_ = proto::kNever;
    climb_.reset();
  }
  constexpr std::uint8_t kGood = 0;
  if (outcome == Outcome::completed && command.status == kGood && !command.looks) {
    memory_.ended_well(command.lun, task.cmd_sn);
  }
}

void Escalation::remember(const Climb& climb) {
  if (NBDGW_MUTANT(rungs_forgotten)) return;
  if (climb.request_id != 0 || climb.for_held || climb.slow || climb.for_lun == RecoveryEvent::kNoLun) return;
  memory_.tried(climb.for_lun, climb.rung, session_.cmd_sn_);
}

void Escalation::on_sense(const Task& task, proto::Micros now) {
  const auto sense = proto::scsi::parse_sense(std::span(task.command->sense).first(task.command->sense_length));
  if (!sense || sense->key != proto::scsi::SenseKey::unit_attention) return;
  constexpr std::uint8_t kReset = 0x29;
  constexpr std::uint8_t kCommandsCleared = 0x2f;
  if (sense->asc == kReset || sense->asc == kCommandsCleared) on_reset_by_others(task, now);
}

/// Somebody has reset the LUN, or has ended commands of ours. It proves nothing of any of them, but those that were
/// sent before the one that was told so need not be waited for.
void Escalation::on_reset_by_others(const Task& task, proto::Micros now) {
  if (NBDGW_MUTANT(reset_by_others_unheard)) return;
  bool any = false;
  Task* next = nullptr;
  for (Task* other = session_.running_.front(); other != nullptr && !other->overdue; other = next) {
    next = other->list_next;
    if (other->command->lun != task.command->lun || other->doomed) continue;
    if (!proto::serial_less(other->cmd_sn, task.cmd_sn)) continue;
    any = true;
    other->doomed = true;
    session_.running_.remove(*other);
    other->armed_at = now;
    other->deadline = std::min(other->deadline, now + kDoomedPatience);
    session_.running_.insert(*other);
  }
  if (any) memory_.on_reset_by_others(task.command->lun, now);
}

}  // namespace nbdgw::initiator
