#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gateway/bridge/request.hpp"

namespace nbdgw::bridge {

/// An export's commands that are not running: those that may go (first in, first out) and those that wait for their
/// time. It also keeps the queue depth: how many may be with the session at once. What is above it waits here and
/// never fails for it.
class CommandQueue {
 public:
  explicit CommandQueue(std::uint32_t depth) : depth_(depth), configured_depth_(depth) {}

  /// New work goes to the back; the next command of work that had its turn, and flushes, go to the front, but behind
  /// one that is to go alone and is next: it waits for all that is under way, and flushes may follow each other for
  /// ever.
  void push_back(DiskCommand& command) noexcept;
  void push_front(DiskCommand& command) noexcept;
  /// The same command once more, also in front, but for one that goes alone: the others go before it. Whoever asks
  /// for that has a proof in hand that the target does not run it any more.
  void again(DiskCommand& command, const initiator::Proof& proof) noexcept;
  /// The same, not before `due`; release_due() then moves it to the front of the queue, of several the one that was
  /// due first foremost.
  void again(DiskCommand& command, const initiator::Proof& proof, proto::Micros due) noexcept;
  /// Takes out a command that is ready or delayed.
  void remove(DiskCommand& command) noexcept;

  /// The next command that may be sent now, taken out and marked as lent; nullptr: none, or the depth is reached.
  DiskCommand* lend() noexcept;
  /// Whether there is one.
  bool could_lend() const noexcept {
    if (ready_.empty() || alone_ || under_way_ >= std::min(depth_, careful_)) return false;
    return under_way_ == 0 || !ready_.front().alone;
  }
  /// The next command whatever the depth, taken out as idle: for those that fail without being sent.
  DiskCommand* take() noexcept;
  /// A lent command came back.
  void returned(DiskCommand& command) noexcept;
  /// The session holds a lent command for want of a proof, nobody knows for how long: it keeps no other one back.
  void set_aside(DiskCommand& command) noexcept;

  proto::Micros next_due() const noexcept { return delayed_.empty() ? proto::kNever : delayed_.begin()->due; }
  void release_due(proto::Micros now) noexcept;

  /// TASK SET FULL or BUSY: the target has told how many commands it holds.
  void lower_depth(proto::Micros now) noexcept;
  /// Another depth is configured. One that TASK SET FULL has lowered is not raised for that.
  void configure_depth(std::uint32_t depth) noexcept;
  /// Something brings the session down, again and again: one at a time, and with each good completion twice as many.
  /// What may be to blame goes alone (DiskCommand::alone), so that it takes no others with it.
  void begin_carefully() noexcept { careful_ = 1; }
  /// A good completion: after a window full of them a lowered depth goes up by one (kQueueDepthRest).
  void count_good(proto::Micros now) noexcept;

  std::uint32_t depth() const noexcept { return depth_; }
  std::uint32_t lent() const noexcept { return under_way_ + aside_; }
  /// Lent, and not set aside.
  std::uint32_t under_way() const noexcept { return under_way_; }
  std::size_t ready() const noexcept { return ready_.size(); }
  std::size_t delayed() const noexcept { return delayed_.size(); }
  bool idle() const noexcept { return lent() == 0 && ready_.empty() && delayed_.empty(); }

 private:
  void put(DiskCommand& command, ReadyQueue::iterator before) noexcept;
  void delay(DiskCommand& command, proto::Micros due) noexcept;
  void end_one() noexcept;

  ReadyQueue ready_;
  DelayQueue delayed_;
  std::uint32_t under_way_ = 0;
  std::uint32_t aside_ = 0;
  bool alone_ = false;  // what is under way is to be alone there
  std::uint32_t depth_;
  std::uint32_t configured_depth_;
  std::uint32_t good_in_a_row_ = 0;
  static constexpr std::uint32_t kCarefree = ~std::uint32_t{0};
  std::uint32_t careful_ = kCarefree;  // no more than these at once, whatever the depth
  proto::Micros lowered_at_ = 0;
};

}  // namespace nbdgw::bridge
