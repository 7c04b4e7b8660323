#include "gateway/bridge/fence.hpp"

#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::bridge {

namespace {

bool overlap(const Fence::Entry& a, const Fence::Entry& b) noexcept {
  return a.first() < b.end() && b.first() < a.end();
}

}  // namespace

Fence::~Fence() {
  active_.clear();
  waiting_.clear();
}

bool Fence::enter(Entry& entry, std::uint64_t first, std::uint64_t end) noexcept {
  NBDGW_ASSERT(entry.state_ == State::outside, "an entry enters the fence once");
  NBDGW_ASSERT(first < end, "a fenced range has a length");
  entry.first_ = first;
  entry.end_ = NBDGW_MUTANT(fence_one_block_short) && end - first > 1 ? end - 1 : end;
  entry.stuck_ = entry.behind_stuck_ = false;
  entry.blockers_ = count_overlapping_active(first, entry.end_);
  for (const Entry& earlier : waiting_) {
    if (overlap(earlier, entry)) ++entry.blockers_;
  }
  if (entry.blockers_ == 0) {
    entry.state_ = State::granted;
    active_.insert(entry);
    return true;
  }
  entry.state_ = State::waiting;
  waiting_.push_back(entry);
  return false;
}

template <typename Look>
void Fence::for_each_overlapping_active(std::uint64_t first, std::uint64_t end, Look look) noexcept {
  // The ranges in flight are disjoint, so only the last one that begins before `first` can reach into the range.
  auto next = active_.lower_bound(first);
  if (next != active_.begin() && std::prev(next)->end_ > first) look(*std::prev(next));
  for (; next != active_.end() && next->first_ < end; ++next) look(*next);
}

std::uint32_t Fence::count_overlapping_active(std::uint64_t first, std::uint64_t end) noexcept {
  std::uint32_t count = 0;
  for_each_overlapping_active(first, end, [&](const Entry&) { ++count; });
  return count;
}

/// Those that wait before it have been looked at already.
bool Fence::waits_for_stuck(WaitingList::iterator waiter) noexcept {
  bool stuck = false;
  for_each_overlapping_active(waiter->first_, waiter->end_,
                              [&](const Entry& entry) { stuck = stuck || entry.stuck_; });
  for (auto earlier = waiting_.begin(); !stuck && earlier != waiter; ++earlier) {
    stuck = earlier->behind_stuck_ && overlap(*earlier, *waiter);
  }
  return stuck;
}

void Fence::leave(Entry& entry, WaitingList& ready) noexcept {
  NBDGW_ASSERT(entry.state_ != State::outside, "only an entry that is in the fence leaves it");
  // A granted entry came before every waiter that it overlaps, or else it would itself be waiting. A waiter came
  // before those behind it in the list.
  auto next = waiting_.begin();
  if (entry.state_ == State::granted) {
    active_.erase(active_.iterator_to(entry));
  } else {
    next = waiting_.erase(waiting_.iterator_to(entry));
  }
  entry.state_ = State::outside;

  while (next != waiting_.end()) {
    Entry& waiter = *next;
    ++next;
    if (!overlap(entry, waiter)) continue;
    NBDGW_ASSERT(waiter.blockers_ > 0, "a waiter has counted everything it waits for");
    if (--waiter.blockers_ > 0) continue;
    waiting_.erase(waiting_.iterator_to(waiter));
    waiter.state_ = State::granted;
    active_.insert(waiter);
    ready.push_back(waiter);
  }
}

}  // namespace nbdgw::bridge
