#include "gateway/initiator/task_pool.hpp"

#include <algorithm>

#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {

TaskPool::TaskPool(std::uint16_t scsi_tasks, std::uint16_t connections)
    : management_tasks_(management_tasks(connections)), late_(kMostLate) {
  NBDGW_ASSERT(scsi_tasks > 0 && scsi_tasks <= kMaxScsiTasks, "the number of tasks fits the tag");
  // Address space only: the memory of tasks that are never made is never touched.
  tasks_.reserve(std::size_t{kMaxScsiTasks} + management_tasks_);
  add_tasks(std::size_t{scsi_tasks} + management_tasks_);
}

void TaskPool::grow(std::uint16_t scsi_tasks) {
  NBDGW_ASSERT(scsi_tasks <= kMaxScsiTasks, "the number of tasks fits the tag");
  const std::size_t wanted = std::size_t{scsi_tasks} + management_tasks_;
  if (wanted > tasks_.size()) add_tasks(wanted - tasks_.size());
}

void TaskPool::add_tasks(std::size_t count) {
  const std::size_t first = tasks_.size();
  tasks_.resize(first + count);
  generation_.resize(tasks_.size(), 0);
  for (std::size_t i = tasks_.size(); i-- > first;) {
    tasks_[i].index = static_cast<std::uint16_t>(i);
    tasks_[i].next = free_;
    free_ = &tasks_[i];
  }
  free_count_ = static_cast<std::uint16_t>(free_count_ + count);
}

std::uint32_t TaskPool::build_itt(const Task& task) const noexcept {
  return (age_ << kAgeShift) | (std::uint32_t{generation_[task.index]} << kIndexBits) | task.index;
}

Task* TaskPool::alloc(TaskKind kind) noexcept {
  if (free_ == nullptr || (kind == TaskKind::scsi && !scsi_available())) return nullptr;
  Task& task = *free_;
  free_ = task.next;
  --free_count_;
  NBDGW_ASSERT(task.state == TaskState::free && task.references == 0, "a free task is nobody's");

  generation_[task.index] = static_cast<std::uint16_t>((generation_[task.index] + 1U) & kGenerationMask);
  task.state = TaskState::running;
  task.kind = kind;
  task.itt = build_itt(task);
  task.cmd_sn = 0;
  task.connection = nullptr;
  task.command = nullptr;
  task.exp_data_sn = 0;
  task.bytes_received = 0;
  task.bytes_sent = 0;
  task.outstanding_bytes = 0;
  task.first_sequence = 0;
  task.sequence_count = 0;
  task.queued_for_data = false;
  task.deadline = proto::kNever;
  task.checked_connection = false;
  task.overdue = false;
  task.doomed = false;
  task.left = true;
  task.all_data_left = false;
  task.next = nullptr;
  return &task;
}

void TaskPool::free(Task& task) noexcept {
  NBDGW_ASSERT(task.state != TaskState::free && task.references == 0,
               "a task is freed once, when nothing points to it");
  task.state = TaskState::free;
  task.command = nullptr;
  task.connection = nullptr;
  task.next = free_;
  free_ = &task;
  ++free_count_;
}

Task* TaskPool::itt_to_task(std::uint32_t itt) noexcept {
  const std::uint32_t index = itt & kIndexMask;
  if (index >= tasks_.size()) return nullptr;
  Task& task = tasks_[index];
  const bool same = task.itt == itt || NBDGW_MUTANT(answers_by_index_alone);
  return task.state == TaskState::running && same ? &task : nullptr;
}

void TaskPool::expect_late_answer(const Task& task) noexcept {
  late_[next_late_] = {.itt = task.itt, .lun = task.command != nullptr ? task.command->lun : 0};
  next_late_ = (next_late_ + 1) % late_.size();
}

const TaskPool::Late* TaskPool::find_late(std::uint32_t itt) const noexcept {
  if (itt == proto::iscsi::kReservedTag || NBDGW_MUTANT(answers_by_index_alone)) return nullptr;
  const auto found = std::ranges::find(late_, itt, &Late::itt);
  return found == late_.end() ? nullptr : &*found;
}

/// The generations go round: if the tag is in use again, the answer is to that use. That is asked first, for each
/// answer.
bool TaskPool::is_late_answer(std::uint32_t itt) const noexcept {
  const std::uint32_t index = itt & kIndexMask;
  if (index >= tasks_.size()) return false;
  const bool in_use = tasks_[index].state == TaskState::running && tasks_[index].itt == itt;
  return !in_use && find_late(itt) != nullptr;
}

std::uint64_t TaskPool::late_lun(std::uint32_t itt) const noexcept {
  const Late* const late = find_late(itt);
  return late == nullptr ? 0 : late->lun;
}

void TaskPool::late_answer_came(std::uint32_t itt) noexcept {
  for (Late& each : late_) {
    if (each.itt == itt) each = {};
  }
}

void TaskPool::advance_age() noexcept {
  age_ = (age_ + 1) & kAgeMask;
  std::ranges::fill(late_, Late{});
}

Task* TaskPool::itt_to_ctask(std::uint32_t itt) noexcept {
  Task* task = itt_to_task(itt);
  return task != nullptr && task->kind == TaskKind::scsi ? task : nullptr;
}

}  // namespace nbdgw::initiator
