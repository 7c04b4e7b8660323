#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace nbdgw::bridge {

/// Keeps write-like requests that overlap apart, in the order of their arrival. Ranges are in
/// blocks of the LUN: an unaligned request is widened to the blocks it touches, so that two read-modify-writes of one
/// block never run together.
///
/// A request that overlaps one in flight, or one that came earlier and still waits, waits itself: no later request
/// overtakes an earlier one that it overlaps. The ranges in flight are therefore disjoint and live in a tree: O(log
/// n) to enter and leave as long as nothing waits. With waiters each step looks at all of them, and there are at most
/// as many as requests (export_config.hpp).
///
/// READ does not enter. The NBD protocol promises a client nothing about a READ that runs at the same time as a WRITE
/// it has not yet been answered (section "Ordering of messages and writes": requests may be processed out of order,
/// and whoever needs an order waits for the reply). A READ sent after a WRITE's reply sees that WRITE, for the reply
/// comes after the SCSI status.
class Fence {
 public:
  enum class State : std::uint8_t { outside, waiting, granted };

  /// A range's place in the fence, part of the request that it stands for.
  class Entry {
   public:
    /// What it stands for has no end in sight. True: that is news.
    bool set_stuck(bool stuck) noexcept { return std::exchange(stuck_, stuck) != stuck; }
    State state() const noexcept { return state_; }
    std::uint64_t first() const noexcept { return first_; }
    std::uint64_t end() const noexcept { return end_; }

   private:
    friend class Fence;

    boost::intrusive::set_member_hook<> active_hook_;
    boost::intrusive::list_member_hook<> waiting_hook_;
    std::uint64_t first_ = 0;
    std::uint64_t end_ = 0;       // one past the last block
    std::uint32_t blockers_ = 0;  // earlier entries that overlap this one and have not left
    State state_ = State::outside;
    bool stuck_ = false;
    bool behind_stuck_ = false;
  };

  Fence() = default;
  Fence(const Fence&) = delete;
  Fence& operator=(const Fence&) = delete;
  ~Fence();

  /// Enters [first, end), first < end. True: granted at once. False: it waits, and a later leave() hands it out.
  bool enter(Entry& entry, std::uint64_t first, std::uint64_t end) noexcept;

  /// Takes an entry out, granted or still waiting. Calls `granted(Entry&)` for each entry that may run now, in order
  /// of arrival, after the fence is done with its own lists: the callee may enter others and take out its own.
  template <typename Granted>
  void leave(Entry& entry, Granted&& granted) {
    WaitingList ready;
    leave(entry, ready);
    while (!ready.empty()) {
      Entry& next = ready.front();
      ready.pop_front();
      granted(next);
    }
  }

  /// Calls `found(Entry&)` for each entry that waits, at once or through others, for one that is stuck, in order of
  /// arrival. It must leave the fence alone.
  template <typename Found>
  void for_each_behind_stuck(Found found) {
    for (auto entry = waiting_.begin(); entry != waiting_.end(); ++entry) {
      entry->behind_stuck_ = waits_for_stuck(entry);
      if (entry->behind_stuck_) found(*entry);
    }
  }

  std::size_t waiting() const noexcept { return waiting_.size(); }
  bool empty() const noexcept { return active_.empty() && waiting_.empty(); }

 private:
  struct ByFirst {
    using type = std::uint64_t;
    type operator()(const Entry& entry) const noexcept { return entry.first_; }
  };
  using ActiveSet = boost::intrusive::set<
      Entry, boost::intrusive::member_hook<Entry, boost::intrusive::set_member_hook<>, &Entry::active_hook_>,
      boost::intrusive::key_of_value<ByFirst>, boost::intrusive::constant_time_size<false>>;
  using WaitingList = boost::intrusive::list<
      Entry, boost::intrusive::member_hook<Entry, boost::intrusive::list_member_hook<>, &Entry::waiting_hook_>>;

  void leave(Entry& entry, WaitingList& ready) noexcept;
  bool waits_for_stuck(WaitingList::iterator waiter) noexcept;
  template <typename Look>
  void for_each_overlapping_active(std::uint64_t first, std::uint64_t end, Look look) noexcept;
  std::uint32_t count_overlapping_active(std::uint64_t first, std::uint64_t end) noexcept;

  ActiveSet active_;
  WaitingList waiting_;  // in order of arrival
};

}  // namespace nbdgw::bridge
