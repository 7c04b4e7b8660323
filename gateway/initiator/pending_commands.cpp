#include "gateway/initiator/pending_commands.hpp"

#include <algorithm>

#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {

PendingCommands::Lane* PendingCommands::find(std::uint64_t lun) noexcept {
  if (latest_ != nullptr && latest_->lun == lun) return latest_;
  const auto place = std::ranges::lower_bound(lanes_, lun, {}, [](const auto& lane) { return lane->lun; });
  if (place == lanes_.end() || (*place)->lun != lun) return nullptr;
  return latest_ = place->get();
}

PendingCommands::Lane& PendingCommands::lane_of(std::uint64_t lun) {
  if (Lane* const lane = find(lun)) return *lane;
  const auto place = std::ranges::lower_bound(lanes_, lun, {}, [](const auto& lane) { return lane->lun; });
  latest_ = lanes_.insert(place, std::make_unique<Lane>(Lane{.lun = lun}))->get();
  return *latest_;
}

/// The LUN whose turn it was goes behind the others.
void PendingCommands::turn() noexcept {
  if (front_ == back_) return;
  Lane& lane = *front_;
  front_ = lane.behind;
  append(lane);
}

ScsiCommand& PendingCommands::pop(Lane& lane) noexcept {
  ScsiCommand& command = *lane.first;
  lane.first = command.next;
  command.next = nullptr;
  if (lane.first == nullptr) lane.last = nullptr;
  return command;
}

ScsiCommand& PendingCommands::take() noexcept {
  NBDGW_ASSERT(front_ != nullptr, "there is one to take");
  ScsiCommand& command = pop(*front_);
  if (front_->first != nullptr) {
    if (!NBDGW_MUTANT(luns_take_no_turns)) turn();
  } else {
    front_ = front_->behind;
    if (front_ == nullptr) back_ = nullptr;
  }
  return command;
}

ScsiCommand* PendingCommands::take_of(std::uint64_t lun) noexcept {
  Lane* const lane = find(lun);
  if (lane == nullptr || lane->first == nullptr) return nullptr;
  ScsiCommand& command = pop(*lane);
  if (lane->first != nullptr) return &command;
  // It has nothing left that waits for its turn.
  Lane* before = nullptr;
  for (Lane* each = front_; each != lane; each = each->behind) before = each;
  (before != nullptr ? before->behind : front_) = lane->behind;
  if (back_ == lane) back_ = before;
  return &command;
}

}  // namespace nbdgw::initiator
