#include "gateway/bridge/task_queue.hpp"

#include <algorithm>
#include <iterator>

#include "proto/assert.hpp"

namespace nbdgw::bridge {

void TaskQueue::push_back(Task& task) noexcept {
  NBDGW_ASSERT(task.place == Task::Place::none, "a task is in one place at a time");
  task.place = Task::Place::ready;
  ready_.push_back(task);
}

void TaskQueue::push_front(Task& task) noexcept {
  NBDGW_ASSERT(task.place == Task::Place::none, "a task is in one place at a time");
  task.place = Task::Place::ready;
  ready_.push_front(task);
}

void TaskQueue::again(Task& task, const initiator::Proof&) noexcept {
  push_front(task);
}

void TaskQueue::again(Task& task, const initiator::Proof&, proto::Micros due) noexcept {
  delay(task, due);
}

void TaskQueue::delay(Task& task, proto::Micros due) noexcept {
  NBDGW_ASSERT(task.place == Task::Place::none, "a task is in one place at a time");
  task.place = Task::Place::delayed;
  task.due = due;
  delayed_.insert(task);
}

void TaskQueue::remove(Task& task) noexcept {
  if (task.place == Task::Place::ready) {
    ready_.erase(ready_.iterator_to(task));
  } else {
    NBDGW_ASSERT(task.place == Task::Place::delayed, "only a task that is not running is taken out");
    delayed_.erase(delayed_.iterator_to(task));
  }
  task.place = Task::Place::none;
}

Task* TaskQueue::lend() noexcept {
  if (!could_lend()) return nullptr;
  Task& task = ready_.front();
  ready_.pop_front();
  task.place = Task::Place::lent;
  ++lent_;
  return &task;
}

Task* TaskQueue::take() noexcept {
  if (ready_.empty() && delayed_.empty()) return nullptr;
  Task& task = ready_.empty() ? *delayed_.begin() : ready_.front();
  remove(task);
  return &task;
}

void TaskQueue::returned(Task& task) noexcept {
  NBDGW_ASSERT(task.place == Task::Place::lent && lent_ > 0, "a task that comes back was lent");
  task.place = Task::Place::none;
  --lent_;
}

void TaskQueue::release_due(proto::Micros now) noexcept {
  // Each goes in front of those before it, so the one that was due first is the last to go there.
  for (const auto end = delayed_.upper_bound(now); end != delayed_.begin();) {
    Task& task = *std::prev(end);
    remove(task);
    push_front(task);
  }
}

void TaskQueue::lower_depth(proto::Micros now) noexcept {
  good_in_a_row_ = 0;
  lowered_at_ = now;
  // What is lent now, without the task that was turned away, is what the target could hold.
  depth_ = std::clamp<std::uint32_t>(lent_, 1, depth_);
}

void TaskQueue::configure_depth(std::uint32_t depth) noexcept {
  NBDGW_ASSERT(depth > 0, "a depth that lets something through");
  depth_ = depth_ == configured_depth_ ? depth : std::min(depth_, depth);
  configured_depth_ = depth;
}

void TaskQueue::count_good(proto::Micros now) noexcept {
  if (careful_ != kCarefree) careful_ = careful_ < depth_ ? 2 * careful_ : kCarefree;
  if (depth_ == configured_depth_ || now - lowered_at_ < kQueueDepthRest || ++good_in_a_row_ < depth_) return;
  good_in_a_row_ = 0;
  ++depth_;
}

}  // namespace nbdgw::bridge
