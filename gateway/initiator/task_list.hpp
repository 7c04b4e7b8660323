#pragma once

#include "gateway/initiator/task.hpp"

namespace nbdgw::initiator {

/// The SCSI tasks of a session that are with the target, soonest deadline first, and behind them those that are
/// overdue and have none any more, first of all the one that has been so for longest. Linked through the tasks.
class TaskList {
 public:
  Task* front() const noexcept { return first_; }
  Task* first_overdue() const noexcept { return first_overdue_; }

  /// By its deadline, behind those with the same. Searched from the back: a new task's deadline is the latest.
  void insert(Task& task) noexcept {
    Task* previous = last_;
    if (task.overdue) {
      if (first_overdue_ == nullptr) first_overdue_ = &task;
    } else {
      // However many are overdue, a new task costs the same.
      if (first_overdue_ != nullptr) previous = first_overdue_->list_previous;
      while (previous != nullptr && previous->deadline > task.deadline) previous = previous->list_previous;
    }
    task.list_previous = previous;
    task.list_next = previous != nullptr ? previous->list_next : first_;
    (previous != nullptr ? previous->list_next : first_) = &task;
    (task.list_next != nullptr ? task.list_next->list_previous : last_) = &task;
  }

  void remove(Task& task) noexcept {
    if (first_overdue_ == &task) first_overdue_ = task.list_next;
    (task.list_previous != nullptr ? task.list_previous->list_next : first_) = task.list_next;
    (task.list_next != nullptr ? task.list_next->list_previous : last_) = task.list_previous;
    task.list_next = task.list_previous = nullptr;
  }

 private:
  Task* first_ = nullptr;
  Task* last_ = nullptr;
  Task* first_overdue_ = nullptr;
};

}  // namespace nbdgw::initiator
