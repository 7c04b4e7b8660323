#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "proto/time.hpp"

namespace nbdgw::sim {

using proto::Micros;

/// The only clock of the world, and what is to happen when. Events of the same time happen in the order in which they
/// were planned.
class Timeline {
 public:
  Timeline() = default;
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  Micros now() const noexcept { return now_; }
  template <typename Action>
  void at(Micros when, Action action) {
    static_assert(sizeof(Action) <= kLargestAction && alignof(Action) <= alignof(std::max_align_t));
    Slot& slot = *plan(when);
    new (slot.memory.data()) Action(std::move(action));
    slot.run = [](Timeline& timeline, Slot& own) {
      auto* const planned = std::launder(reinterpret_cast<Action*>(own.memory.data()));
      Action taken = std::move(*planned);
      planned->~Action();
      timeline.free_.push_back(&own);  // it may be used again by what is planned now
      taken();
    };
    if constexpr (std::is_trivially_destructible_v<Action>) {
      slot.drop = nullptr;
    } else {
      slot.drop = [](Slot& own) { std::launder(reinterpret_cast<Action*>(own.memory.data()))->~Action(); };
    }
  }
  template <typename Action>
  void after(Micros delay, Action action) {
    at(now_ + delay, std::move(action));
  }

  /// When the next event is due; kNever: there is none.
  Micros next() const noexcept { return heap_.empty() ? proto::kNever : heap_.front().when; }
  /// Time goes on to `until`, with all that happens meanwhile, its end included.
  void advance(Micros until);
  /// Something that took that long without anything else happening: events that were due meanwhile are late.
  void spend(Micros time) noexcept { now_ += time; }

  std::uint64_t events() const noexcept { return events_; }

 private:
  static constexpr std::size_t kLargestAction = 80;

  /// Where an action waits.
  struct Slot {
    alignas(std::max_align_t) std::array<std::byte, kLargestAction> memory;
    void (*run)(Timeline&, Slot&);
    void (*drop)(Slot&);  // null: nothing is to be done
  };
  struct Entry {
    Micros when;
    std::uint64_t number;
    Slot* slot;
  };
  static bool later(const Entry& a, const Entry& b) noexcept {
    return a.when != b.when ? a.when > b.when : a.number > b.number;
  }
  Slot* plan(Micros when);

  Micros now_ = 1000 * proto::kSecond;  // a machine that has been up for a while
  std::uint64_t planned_ = 0;
  std::uint64_t events_ = 0;
  std::vector<Entry> heap_;
  std::deque<Slot> slots_;
  std::vector<Slot*> free_;
};

}  // namespace nbdgw::sim
