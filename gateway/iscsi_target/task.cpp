#include "gateway/iscsi_target/task.hpp"

#include <algorithm>
#include <bit>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"

namespace nbdgw::iscsi_target {

TaskTable::TaskTable(std::size_t expected) : buckets_(std::bit_ceil(2 * expected), nullptr) {}

Task* TaskTable::find(std::uint32_t itt) const noexcept {
  Task* task = buckets_[bucket(itt)];
  while (task != nullptr && task->itt != itt) task = task->next_same_hash;
  return task;
}

void TaskTable::insert(Task& task) noexcept {
  Task*& head = buckets_[bucket(task.itt)];
  task.next_same_hash = head;
  head = &task;
}

void TaskTable::erase(Task& task) noexcept {
  Task** link = &buckets_[bucket(task.itt)];
  while (*link != nullptr && *link != &task) link = &(*link)->next_same_hash;
  if (*link == nullptr) return;
  *link = task.next_same_hash;
  task.next_same_hash = nullptr;
}

void TaskList::push_back(Task& task) noexcept {
  task.previous = last_;
  task.next = nullptr;
  (last_ != nullptr ? last_->next : first_) = &task;
  last_ = &task;
}

void TaskList::remove(Task& task) noexcept {
  (task.previous != nullptr ? task.previous->next : first_) = task.next;
  (task.next != nullptr ? task.next->previous : last_) = task.previous;
  task.next = task.previous = nullptr;
}

void set_check_condition(Task& task, const proto::scsi::Sense& sense) noexcept {
  set_status(task, proto::scsi::Status::check_condition);
  const auto length = proto::scsi::build_fixed_sense(sense, std::span(task.sense_segment).subspan(2));
  proto::store_be16(task.sense_segment.data(), static_cast<std::uint16_t>(length));
  task.sense_segment_length = static_cast<std::uint32_t>(2 + length);
}

void set_status(Task& task, proto::scsi::Status status) noexcept {
  task.status = status;
  task.sense_segment_length = 0;
  task.moved = 0;
  task.in_length = 0;
}

void set_short(Task& task) noexcept {
  const Shortfall& wanted = *task.shortfall;
  const std::uint32_t in_length = std::min(task.in_length, wanted.bytes);
  // Untold: as if the initiator's buffer had been filled, also by a command that has less to tell than that.
  const std::uint32_t moved =
      wanted.told ? std::min(task.moved, wanted.bytes) : std::max(task.moved, task.command.expected_length);
  if (!wanted.good) {
    proto::scsi::Sense sense;
    sense.key = proto::scsi::SenseKey::recovered_error;
    sense.asc = 0x17;  // recovered data with no error correction applied
    set_check_condition(task, sense);
  }
  task.in_length = in_length;
  task.moved = moved;
}

proto::iscsi::StatusFields status_fields(const Task& task) noexcept {
  proto::iscsi::StatusFields fields{.status = static_cast<std::uint8_t>(task.status)};
  // A buffer that the command has no use for, by its direction, counts as one of which nothing was moved.
  const bool usable = task.plan.direction == DataDirection::in    ? task.command.read
                      : task.plan.direction == DataDirection::out ? task.command.write
                                                                  : false;
  const std::uint32_t room = task.command.expected_length;
  const std::uint32_t moved_within = usable ? std::min(task.moved, room) : 0;
  if (task.moved > moved_within) {
    fields.overflow = true;
    fields.residual_count = task.moved - moved_within;
  } else if (moved_within < room) {
    fields.underflow = true;
    fields.residual_count = room - moved_within;
  }
  return fields;
}

}  // namespace nbdgw::iscsi_target
