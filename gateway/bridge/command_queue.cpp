#include "gateway/bridge/command_queue.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "proto/assert.hpp"

namespace nbdgw::bridge {

void CommandQueue::put(DiskCommand& command, ReadyQueue::iterator before) noexcept {
  NBDGW_ASSERT(command.place == DiskCommand::Place::none, "a command is in one place at a time");
  command.place = DiskCommand::Place::ready;
  ready_.insert(before, command);
}

void CommandQueue::push_back(DiskCommand& command) noexcept {
  put(command, ready_.end());
}

void CommandQueue::push_front(DiskCommand& command) noexcept {
  const bool one_waits = !ready_.empty() && ready_.front().alone;
  put(command, one_waits ? std::next(ready_.begin()) : ready_.begin());
}

void CommandQueue::again(DiskCommand& command, const initiator::Proof&) noexcept {
  put(command, command.alone ? ready_.end() : ready_.begin());
}

void CommandQueue::again(DiskCommand& command, const initiator::Proof&, proto::Micros due) noexcept {
  delay(command, due);
}

void CommandQueue::delay(DiskCommand& command, proto::Micros due) noexcept {
  NBDGW_ASSERT(command.place == DiskCommand::Place::none, "a command is in one place at a time");
  command.place = DiskCommand::Place::delayed;
  command.due = due;
  delayed_.insert(command);
}

void CommandQueue::remove(DiskCommand& command) noexcept {
  if (command.place == DiskCommand::Place::ready) {
    ready_.erase(ready_.iterator_to(command));
  } else {
    NBDGW_ASSERT(command.place == DiskCommand::Place::delayed, "only a command that is not running is taken out");
    delayed_.erase(delayed_.iterator_to(command));
  }
  command.place = DiskCommand::Place::none;
}

DiskCommand* CommandQueue::lend() noexcept {
  if (!could_lend()) return nullptr;
  DiskCommand& command = ready_.front();
  ready_.pop_front();
  command.place = DiskCommand::Place::lent;
  ++under_way_;
  alone_ = command.alone;
  return &command;
}

DiskCommand* CommandQueue::take() noexcept {
  if (ready_.empty() && delayed_.empty()) return nullptr;
  DiskCommand& command = ready_.empty() ? *delayed_.begin() : ready_.front();
  remove(command);
  return &command;
}

void CommandQueue::returned(DiskCommand& command) noexcept {
  NBDGW_ASSERT(command.place == DiskCommand::Place::lent && lent() > 0, "a command that comes back was lent");
  command.place = DiskCommand::Place::none;
  if (std::exchange(command.aside, false)) {
    --aside_;
  } else {
    end_one();
  }
}

void CommandQueue::set_aside(DiskCommand& command) noexcept {
  NBDGW_ASSERT(command.place == DiskCommand::Place::lent, "the session holds what was lent to it");
  if (std::exchange(command.aside, true)) return;
  ++aside_;
  end_one();
}

void CommandQueue::end_one() noexcept {
  if (--under_way_ == 0) alone_ = false;
}

void CommandQueue::release_due(proto::Micros now) noexcept {
  // Each goes in front of those before it, so the one that was due first is the last to go there.
  for (const auto end = delayed_.upper_bound(now); end != delayed_.begin();) {
    DiskCommand& command = *std::prev(end);
    remove(command);
    push_front(command);
  }
}

void CommandQueue::lower_depth(proto::Micros now) noexcept {
  good_in_a_row_ = 0;
  lowered_at_ = now;
  // What is lent now, without the command that was turned away, is what the target could hold.
  depth_ = std::clamp<std::uint32_t>(under_way_, 1, depth_);
}

void CommandQueue::configure_depth(std::uint32_t depth) noexcept {
  NBDGW_ASSERT(depth > 0, "a depth that lets something through");
  depth_ = depth_ == configured_depth_ ? depth : std::min(depth_, depth);
  configured_depth_ = depth;
}

void CommandQueue::count_good(proto::Micros now) noexcept {
  if (careful_ != kCarefree) careful_ = careful_ < depth_ ? 2 * careful_ : kCarefree;
  if (depth_ == configured_depth_ || now - lowered_at_ < kQueueDepthRest || ++good_in_a_row_ < depth_) return;
  good_in_a_row_ = 0;
  ++depth_;
}

}  // namespace nbdgw::bridge
