#include "gateway/iscsi_target/faults.hpp"

#include <algorithm>
#include <utility>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::iscsi_target {

namespace {

/// SplitMix64, as a number from 0 to below 1: the same draws for the same seed, anywhere.
double draw(std::uint64_t& state) noexcept {
  state += 0x9e3779b97f4a7c15ULL;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

bool acts_on_begin(FaultKind kind) noexcept {
  switch (kind) {
    case FaultKind::hang_task:
    case FaultKind::hang_lun:
    case FaultKind::drop_connection:
    case FaultKind::busy:
    case FaultKind::task_set_full:
    case FaultKind::unit_attention:
    case FaultKind::check_condition:
    case FaultKind::reject:
    case FaultKind::write_protect:
    case FaultKind::slow_write:
    case FaultKind::short_data:
    case FaultKind::refuse_vpd:
      return true;
    default:
      return false;
  }
}

/// Whether the command changes blocks, when it comes to it.
bool changes_blocks(const Task& task) noexcept {
  const Operation operation = task.plan.operation;
  return !task.plan.refusal &&
         (operation == Operation::write || operation == Operation::write_same || operation == Operation::unmap);
}

bool is_thin_full(FaultKind kind) noexcept {
  return kind == FaultKind::thin_full;
}

/// Whether the command writes blocks to a range of which some take no space yet. WRITE SAME with the UNMAP bit and
/// zeroes gives space back instead.
bool allocates(const Task& task) {
  const Plan& plan = task.plan;
  const bool writes = plan.operation == Operation::write || plan.operation == Operation::write_same;
  if (task.unit == nullptr || plan.refusal || !writes) return false;
  const std::uint32_t block_size = task.unit->block_size();
  if (plan.operation == Operation::write_same && plan.unmap) {
    std::vector<std::uint8_t> block(std::min(task.data_length, block_size));
    proto::copy_out(task.data, 0, block.data(), block.size());
    if (std::all_of(block.begin(), block.end(), [](auto byte) { return byte == 0; })) return false;
  }
  std::uint64_t offset = plan.lba * block_size;
  const std::uint64_t end = offset + plan.blocks * block_size;
  while (offset < end) {
    const MediumExtent run = task.unit->medium().extent(offset, end - offset);
    if (!run.mapped) return true;
    offset += run.length;
  }
  return false;
}

bool is_delay(FaultKind kind) noexcept {
  return kind == FaultKind::delay;
}

}  // namespace

// ---- the list
// -------------------------------------------------------------------------------------------------------

const Faults::Posted* Faults::add(const Fault& fault, proto::Micros now) {
  if (posted_.size() >= kMaxFaults) return nullptr;
  NBDGW_ASSERT(fault.lun || !traits(fault.kind).needs_lun, "whoever posts a fault has checked it");
  server_->set_now(now);
  Posted& posted = posted_.emplace_back(Posted{.id = ++last_id_, .fault = fault, .random = fault.seed});
  if (fault.at_once()) {
    posted.hits = 1;
    posted.active = false;
    act_at_once(fault);
    server_->tidy();
  }
  if (fault.is_state()) posted.hits = 1;
  refresh_states();
  return &posted;
}

bool Faults::remove(std::uint32_t id, proto::Micros now) {
  const auto found = std::find_if(posted_.begin(), posted_.end(), [&](const Posted& each) { return each.id == id; });
  if (found == posted_.end()) return false;
  server_->set_now(now);
  posted_.erase(found);
  let_go_all([&](const Held& held) { return held.fault == id; }, now);
  land_those_of(id, now);
  refresh_states();
  server_->tidy();
  return true;
}

void Faults::clear(proto::Micros now) {
  while (!posted_.empty()) remove(posted_.back().id, now);
}

// ---- which fault hits
// -----------------------------------------------------------------------------------------------

bool Faults::matches(const Posted& posted, const Task& task) const noexcept {
  const Fault& fault = posted.fault;
  if (!posted.active) return false;
  if (fault.lun && proto::scsi::decode_lun(task.command.lun) != *fault.lun) return false;
  if (fault.cid && task.connection->cid() != *fault.cid) return false;
  if (fault.portal != 0 && task.connection->portal_group_tag() != fault.portal) return false;
  if (fault.opcode && task.cdb()[0] != *fault.opcode) return false;
  if (fault.group && !is_in(*fault.group, task.cdb()[0])) return false;
  switch (fault.kind) {
    case FaultKind::hang_task:
    case FaultKind::hang_lun:
    case FaultKind::delay:
      return held_.size() < kMaxHeld;
    case FaultKind::unit_attention:
      return !ignores_unit_attention(task.plan.operation);
    case FaultKind::write_protect:
      return is_in(CommandGroup::write, task.cdb()[0]) || is_in(CommandGroup::write_same, task.cdb()[0]) ||
             is_in(CommandGroup::unmap, task.cdb()[0]);
    case FaultKind::thin_full:
      return allocates(task);
    case FaultKind::refuse_vpd:
      return task.plan.operation == Operation::inquiry && (task.cdb()[1] & 1) != 0 && task.cdb()[2] == fault.page;
    case FaultKind::slow_write:
      return held_.size() < kMaxHeld && changes_blocks(task);
    case FaultKind::short_data:
      // INQUIRY and the like only where they are meant.
      return !task.plan.refusal &&
             (task.plan.operation == Operation::read || task.plan.operation == Operation::write ||
              (fault.opcode && task.plan.direction == DataDirection::in));
    default:
      return true;
  }
}

/// Null: it was deleted.
const Fault* Faults::find(std::uint32_t id) const noexcept {
  const auto found = std::find_if(posted_.begin(), posted_.end(), [&](const Posted& each) { return each.id == id; });
  return found == posted_.end() ? nullptr : &found->fault;
}

/// Whether this match is one that the fault hits; counts it.
bool Faults::fire(Posted& posted) {
  const Fault& fault = posted.fault;
  if (posted.skipped < fault.skip) {
    ++posted.skipped;
    return false;
  }
  if (fault.probability < 1 && draw(posted.random) >= fault.probability) return false;
  ++posted.hits;
  if (fault.count != 0 && posted.hits >= fault.count) posted.active = false;
  return true;
}

/// The first fault of those kinds that hits the task; null: none.
Faults::Posted* Faults::next_hit(const Task& task, bool (*acts)(FaultKind)) noexcept {
  for (Posted& each : posted_)
    if (acts(each.fault.kind) && matches(each, task) && fire(each)) return &each;
  return nullptr;
}

// ---- commands
// -------------------------------------------------------------------------------------------------------

Gate::Decision Faults::pass(Task& task, Passage passage, proto::Micros now) {
  switch (passage) {
    case Passage::begin:
      return on_begin(task);
    case Passage::execute:
      return on_execute(task, now);
    case Passage::respond:
      return on_respond(task, now);
  }
  return Decision::proceed;
}

Gate::Decision Faults::on_begin(Task& task) {
  const Posted* hit = next_hit(task, acts_on_begin);
  if (hit == nullptr) return Decision::proceed;
  const Fault& fault = hit->fault;
  const auto sense = [&](std::uint32_t key) {
    set_check_condition(task,
                        make_sense(static_cast<proto::scsi::SenseKey>(key),
                                   {static_cast<std::uint8_t>(fault.asc), static_cast<std::uint8_t>(fault.ascq)}));
    return Decision::answer;
  };
  switch (fault.kind) {
    case FaultKind::hang_task:
    case FaultKind::hang_lun:
      return hang(task, *hit);
    case FaultKind::slow_write:
      hold(task, hit->id).slow = true;
      return Decision::hold;
    case FaultKind::refuse_vpd:
      set_check_condition(task, illegal_request(proto::scsi::asc::kInvalidFieldInCdb));
      return Decision::answer;
    case FaultKind::short_data:
      task.shortfall = Shortfall{.bytes = fault.bytes, .good = fault.good, .told = fault.told};
      task.out_length = std::min(task.out_length, fault.bytes);
      if (task.plan.direction == DataDirection::out) task.data_length = std::min(task.data_length, fault.bytes);
      return Decision::proceed;
    case FaultKind::busy:
      set_status(task, proto::scsi::Status::busy);
      return Decision::answer;
    case FaultKind::task_set_full:
      set_status(task, proto::scsi::Status::task_set_full);
      return Decision::answer;
    case FaultKind::unit_attention:
      return sense(static_cast<std::uint32_t>(proto::scsi::SenseKey::unit_attention));
    case FaultKind::check_condition:
      return sense(fault.key);
    case FaultKind::reject:
      if (fault.hole) task.connection->session()->take_back_cmd_sn(task);
      task.connection->reject(static_cast<proto::iscsi::RejectReason>(fault.reason), task.request);
      return Decision::discard;
    case FaultKind::write_protect:
      refresh_states();  // this hit may have been its last
      set_check_condition(task, make_sense(proto::scsi::SenseKey::data_protect, proto::scsi::asc::kWriteProtected));
      return Decision::answer;
    case FaultKind::drop_connection:
      if (fault.half_close) {
        task.connection->stop_sending();
        return Decision::proceed;
      }
      task.connection->reset("a fault drops it");
      return Decision::discard;
    default:
      return Decision::proceed;
  }
}

Gate::Decision Faults::hang(Task& task, const Posted& posted) {
  hold(task, posted.id).before_execution = !posted.fault.executed;
  return posted.fault.executed ? Decision::proceed : Decision::hold;
}

Gate::Decision Faults::on_execute(Task& task, proto::Micros now) {
  const auto found = held_.find(&task);
  const Fault* slow = found != held_.end() && found->second.slow ? find(found->second.fault) : nullptr;
  if (slow != nullptr && slow->delay_ms != 0 && !slow->after_loss)
    found->second.due = now + proto::Micros{slow->delay_ms} * proto::kMillisecond;
  if (found != held_.end() && found->second.before_execution && now < found->second.due) {
    found->second.waiting = true;
    return Decision::hold;
  }
  if (next_hit(task, is_thin_full) == nullptr) return Decision::proceed;
  set_check_condition(task,
                      make_sense(proto::scsi::SenseKey::data_protect, proto::scsi::asc::kSpaceAllocationFailed));
  return Decision::answer;
}

Gate::Decision Faults::on_respond(Task& task, proto::Micros now) {
  const auto found = held_.find(&task);
  if (task.shortfall && task.status == proto::scsi::Status::good) set_short(task);
  if (found != held_.end() && task.disowned) {  // its time has come
    const bool mute = found->second.mute;
    held_.erase(found);
    task.followed = false;
    return mute ? Decision::discard : Decision::proceed;
  }
  if (found != held_.end()) {
    found->second.waiting = true;
    return Decision::hold;
  }
  const Posted* hit = next_hit(task, is_delay);
  if (hit == nullptr) return Decision::proceed;
  Held& held = hold(task, hit->id);
  held.before_execution = false;
  held.waiting = true;
  held.due = now + proto::Micros{hit->fault.delay_ms} * proto::kMillisecond;
  return Decision::hold;
}

void Faults::on_gone(Task& task) {
  const auto found = held_.find(&task);
  if (found == held_.end()) return;
  if (found->second.slow && found->second.waiting) outlive(task, found->second);
  held_.erase(found);
}

// ---- what is held
// ---------------------------------------------------------------------------------------------------

Faults::Held& Faults::hold(Task& task, std::uint32_t fault) {
  Held& held = held_[&task];
  held = {.fault = fault, .turn = ++last_turn_};
  task.followed = true;
  return held;
}

void Faults::let_go(Task& task, proto::Micros now) {
  const auto found = held_.find(&task);
  Held& held = found->second;
  const bool waiting = std::exchange(held.waiting, false);
  held.before_execution = false;
  if (held.mute && task.state == TaskState::executed) return task.session->abort(task);
  if (!held.mute) {  // else it runs, and on_respond() ends it
    held_.erase(found);
    task.followed = false;
  }
  if (waiting) task.session->resume(task, now);
}

template <typename Which>
void Faults::let_go_all(Which which, proto::Micros now) {
  std::vector<std::pair<std::uint64_t, Task*>> tasks;
  for (const auto& [task, held] : held_)
    if (which(held)) tasks.emplace_back(held.turn, task);
  std::sort(tasks.begin(), tasks.end());
  for (const auto& [turn, task] : tasks) let_go(*task, now);
}

proto::Micros Faults::next_deadline() const noexcept {
  proto::Micros next = proto::kNever;
  for (const auto& [task, held] : held_)
    if (held.waiting) next = std::min(next, held.due);
  for (const Late& late : late_) next = std::min(next, late.due);
  return next;
}

void Faults::on_deadline(proto::Micros now) {
  if (now < next_deadline()) return;
  server_->set_now(now);
  let_go_all([&](const Held& held) { return held.waiting && held.due <= now; }, now);
  land_due(now);
  server_->tidy();
}

}  // namespace nbdgw::iscsi_target
