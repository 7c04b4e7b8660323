#include "tests/sim/timeline.hpp"

#include <algorithm>

namespace nbdgw::sim {

Timeline::~Timeline() {
  for (const Entry& entry : heap_) {
    if (entry.slot->drop != nullptr) entry.slot->drop(*entry.slot);
  }
}

Timeline::Slot* Timeline::plan(Micros when) {
  if (free_.empty()) free_.push_back(&slots_.emplace_back());
  Slot* const slot = free_.back();
  free_.pop_back();
  heap_.push_back({.when = std::max(when, now_), .number = planned_++, .slot = slot});
  std::ranges::push_heap(heap_, later);
  return slot;
}

void Timeline::advance(Micros until) {
  while (!heap_.empty() && heap_.front().when <= until) {
    const Entry entry = heap_.front();
    std::ranges::pop_heap(heap_, later);
    heap_.pop_back();
    now_ = std::max(now_, entry.when);
    ++events_;
    entry.slot->run(*this, *entry.slot);
  }
  now_ = std::max(now_, until);
}

}  // namespace nbdgw::sim
