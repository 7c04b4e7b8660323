#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "proto/time.hpp"

namespace nbdgw::sim {

using proto::Micros;

/// The only clock of the world, and what is to happen when. Events of the same time happen in the order in which they
/// were planned.
class Timeline {
 public:
  using Action = std::function<void()>;

  Micros now() const noexcept { return now_; }
  void at(Micros when, Action action);
  void after(Micros delay, Action action) { at(now_ + delay, std::move(action)); }

  /// When the next event is due; kNever: there is none.
  Micros next() const noexcept { return heap_.empty() ? proto::kNever : heap_.front().when; }
  /// Time goes on to `until`, with all that happens meanwhile, its end included.
  void advance(Micros until);
  /// Something that took that long without anything else happening: events that were due meanwhile are late.
  void spend(Micros time) noexcept { now_ += time; }

  std::uint64_t events() const noexcept { return events_; }

 private:
  struct Entry {
    Micros when;
    std::uint64_t number;
    Action action;
  };
  static bool later(const Entry& a, const Entry& b) noexcept {
    return a.when != b.when ? a.when > b.when : a.number > b.number;
  }

  Micros now_ = 1000 * proto::kSecond;  // a machine that has been up for a while
  std::uint64_t planned_ = 0;
  std::uint64_t events_ = 0;
  std::vector<Entry> heap_;
};

}  // namespace nbdgw::sim
