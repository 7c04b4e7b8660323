#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "gateway/net/log_line.hpp"
#include "gateway/net/log_outlet.hpp"
#include "proto/time.hpp"

namespace nbdgw::net::log {

/// How many lines may wait, and how much memory they may take: a second or so of the worst flood. The last quarter is
/// for warnings and errors, so that a flood of lesser lines does not cost them.
struct QueueLimits {
  std::size_t lines = 8192;
  std::size_t bytes = std::size_t{4} << 20;
};

/// One line of the process was dropped (dropped()).
void note_dropped() noexcept;

/// Lines on their way to the outlet, which a thread of its own writes out. A reader that does not read costs lines,
/// the newest ones, and no time: what finds no room is dropped and counted, and one line tells of it as soon as there
/// is room again, in its place among the others.
class Queue {
 public:
  using Tick = std::function<void(proto::Micros now)>;

  /// `tick` is called on the thread about once a second, as long as lines can be written.
  explicit Queue(Outlet outlet, Tick tick = {}, QueueLimits limits = {});
  /// finish(0), if nobody has called it.
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  /// From any thread; never waits for the reader.
  void put(Line line) noexcept;

  /// No more lines are taken; those that wait are written, for this long at most, and the thread ends. One that hangs
  /// in the system all the same is left alone.
  void finish(proto::Micros limit);

  /// Waits until all that was put has been written, for about `limit_ms` at most. Takes no lock: for a signal
  /// handler.
  void wait_written(int limit_ms) const noexcept;

 private:
  struct State;

  const std::shared_ptr<State> state_;  // the thread's, too
  class Thread;
  std::unique_ptr<Thread> thread_;
};

}  // namespace nbdgw::net::log
