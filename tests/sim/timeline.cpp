#include "tests/sim/timeline.hpp"

#include <algorithm>
#include <utility>

namespace nbdgw::sim {

void Timeline::at(Micros when, Action action) {
  heap_.push_back({.when = std::max(when, now_), .number = planned_++, .action = std::move(action)});
  std::ranges::push_heap(heap_, later);
}

void Timeline::advance(Micros until) {
  while (!heap_.empty() && heap_.front().when <= until) {
    std::ranges::pop_heap(heap_, later);
    Entry entry = std::move(heap_.back());
    heap_.pop_back();
    now_ = std::max(now_, entry.when);
    ++events_;
    entry.action();
  }
  now_ = std::max(now_, until);
}

}  // namespace nbdgw::sim
