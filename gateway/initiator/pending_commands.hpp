#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gateway/initiator/scsi_command.hpp"

namespace nbdgw::initiator {

/// Commands that wait until they can be given to a connection: of each LUN in the order in which they were queued,
/// and the LUNs in turn, one command each, so that one with much to do does not keep the others of the session from
/// the command window. Allocates for the first command of a LUN only.
class PendingCommands {
 public:
  PendingCommands() = default;
  PendingCommands(const PendingCommands&) = delete;
  PendingCommands& operator=(const PendingCommands&) = delete;

  bool empty() const noexcept { return front_ == nullptr; }
  void push(ScsiCommand& command) {
    Lane& lane = latest_ != nullptr && latest_->lun == command.lun ? *latest_ : lane_of(command.lun);
    command.next = nullptr;
    if (lane.first == nullptr) {
      lane.first = &command;
      append(lane);
    } else {
      lane.last->next = &command;
    }
    lane.last = &command;
  }

  /// The next one of a LUN that `may_send(lun)`; nullptr: there is none.
  template <typename MaySend>
  ScsiCommand* next(MaySend may_send) noexcept {
    for (Lane* const last = back_; front_ != nullptr;) {
      if (may_send(front_->lun)) return front_->first;
      const bool all = front_ == last;
      turn();
      if (all) break;
    }
    return nullptr;
  }
  /// Whether next() would give one.
  template <typename MaySend>
  bool any(MaySend may_send) const noexcept {
    for (const Lane* lane = front_; lane != nullptr; lane = lane->behind) {
      if (may_send(lane->lun)) return true;
    }
    return false;
  }
  /// Takes out what next() has just given.
  ScsiCommand& take() noexcept;

  /// Takes out the oldest of this LUN; nullptr: there is none.
  ScsiCommand* take_of(std::uint64_t lun) noexcept;
  /// Takes out any one; nullptr: there is none.
  ScsiCommand* take_any() noexcept { return empty() ? nullptr : &take(); }

 private:
  struct Lane {
    std::uint64_t lun = 0;
    ScsiCommand* first = nullptr;
    ScsiCommand* last = nullptr;
    Lane* behind = nullptr;  // among those that have commands
  };

  Lane* find(std::uint64_t lun) noexcept;
  Lane& lane_of(std::uint64_t lun);
  ScsiCommand& pop(Lane& lane) noexcept;
  void append(Lane& lane) noexcept {
    lane.behind = nullptr;
    (back_ != nullptr ? back_->behind : front_) = &lane;
    back_ = &lane;
  }
  void turn() noexcept;

  std::vector<std::unique_ptr<Lane>> lanes_;  // by LUN
  Lane* latest_ = nullptr;                    // that find() has found: often it is wanted again
  Lane* front_ = nullptr;                     // whose turn it is
  Lane* back_ = nullptr;
};

}  // namespace nbdgw::initiator
