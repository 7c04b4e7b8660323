#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gateway/initiator/task.hpp"

namespace nbdgw::initiator {

/// All tasks of a session, made once. The Initiator Task Tag of a task is built from its index, a generation that
/// changes with every use, and the session's age that changes with every login, so that an answer to an earlier use
/// or an earlier incarnation of the session cannot be taken for an answer to this one.
class TaskPool {
 public:
  static constexpr std::uint32_t kIndexBits = 13;
  static constexpr std::uint32_t kIndexMask = (1U << kIndexBits) - 1;
  static constexpr std::uint32_t kAgeShift = 28;
  static constexpr std::uint32_t kAgeMask = 0xf;
  static constexpr std::uint32_t kGenerationMask = (1U << (kAgeShift - kIndexBits)) - 1;
  /// Tasks kept for management, so that SCSI commands cannot starve it: at least these, as in the kernel.
  static constexpr std::uint16_t kManagementTasks = 15;
  static constexpr std::uint16_t kMaxScsiTasks = 4096 - kManagementTasks;
  /// With many connections more of them: two NOP-Out for each (of the keep-alive, and of a round before a reset), a
  /// Logout and a task management function.
  static constexpr std::uint16_t management_tasks(std::uint16_t connections) noexcept {
    return std::max<std::uint16_t>(kManagementTasks, static_cast<std::uint16_t>(2 * connections + 2));
  }

  /// `scsi_tasks`: from 1 to kMaxScsiTasks.
  TaskPool(std::uint16_t scsi_tasks, std::uint16_t connections);

  /// More tasks, so that there are `scsi_tasks` for commands (at most kMaxScsiTasks). Fewer than there are: nothing
  /// changes. Tasks that are out stay where they are.
  void grow(std::uint16_t scsi_tasks);

  /// A free task in state `running` with a fresh ITT, or nullptr. Only management may take the reserved ones.
  Task* alloc(TaskKind kind) noexcept;
  /// Whether alloc(TaskKind::scsi) would give one.
  bool scsi_available() const noexcept { return free_count_ > management_tasks_; }
  /// The same for a management task.
  bool management_available() const noexcept { return free_count_ > 0; }
  /// Whether this is so of any task that is out.
  template <typename Question>
  bool any_of(Question question) const noexcept {
    return std::ranges::any_of(tasks_,
                               [&](const Task& task) { return task.state != TaskState::free && question(task); });
  }
  /// Back to the pool (iscsi_free_task).
  void free(Task& task) noexcept;

  /// The task that is running under this tag in this age of the session, or nullptr (iscsi_itt_to_task).
  Task* itt_to_task(std::uint32_t itt) noexcept;
  /// The same, for SCSI commands only (iscsi_itt_to_ctask).
  Task* itt_to_ctask(std::uint32_t itt) noexcept;

  /// A running task is ended without its answer, which may still come: in this age of the session it is to be ignored
  /// then, not to be taken for nonsense.
  void expect_late_answer(const Task& task) noexcept;
  /// Whether an answer with this tag is such a late one. On a way that stands still it may come long after its place
  /// has been taken again and again, so kMostLate of them are known, the last ones.
  bool is_late_answer(std::uint32_t itt) const noexcept;
  static constexpr std::size_t kMostLate = 1024;
  /// Of which LUN it is; 0: it is no late answer.
  std::uint64_t late_lun(std::uint32_t itt) const noexcept;
  /// Its status has come: nothing more may follow.
  void late_answer_came(std::uint32_t itt) noexcept;

  /// The session has been reinstated: tags of before mean nothing any more.
  void advance_age() noexcept;
  std::uint32_t age() const noexcept { return age_; }

  std::uint16_t size() const noexcept { return static_cast<std::uint16_t>(tasks_.size()); }
  std::uint16_t in_use() const noexcept { return static_cast<std::uint16_t>(tasks_.size() - free_count_); }

 private:
  struct Late {
    std::uint32_t itt = proto::iscsi::kReservedTag;
    std::uint64_t lun = 0;
  };
  const Late* find_late(std::uint32_t itt) const noexcept;
  std::uint32_t build_itt(const Task& task) const noexcept;
  void add_tasks(std::size_t count);

  const std::uint16_t management_tasks_;
  std::vector<Task> tasks_;  // of the largest capacity from the start: tasks are pointed to, and must not move
  std::vector<std::uint16_t> generation_;
  std::vector<Late> late_;  // a ring of tasks that were ended without an answer
  std::size_t next_late_ = 0;
  Task* free_ = nullptr;  // last freed first: still in the cache
  std::uint16_t free_count_ = 0;
  std::uint32_t age_ = 0;
};

}  // namespace nbdgw::initiator
