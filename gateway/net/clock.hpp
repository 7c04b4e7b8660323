#pragma once

#include <cstdint>

#include "proto/time.hpp"

namespace nbdgw::net {

/// The steady clock that all engines of this process run on. Read once per turn of a shard and handed down: on many
/// virtual machines a clock read is a system call.
///
/// It stands still while the machine is asleep (suspended), as the clocks of clients on this machine do: timeouts are
/// times in which somebody could have answered. On one that goes on, requests that are held for want of a path would
/// all fail in the moment of waking.
proto::Micros steady_now() noexcept;

/// How long the machine has been asleep since it was booted; a little less if somebody else had the processor
/// meanwhile.
proto::Micros slept_so_far() noexcept;

/// Notices that the machine was asleep, for those to whom it matters what may have happened elsewhere meanwhile.
class SleepWatch {
 public:
  /// Shorter ones are not noticed: then two clocks were read at different times, or nothing has come of it.
  static constexpr proto::Micros kNoticed = proto::kSecond;
  using Reader = proto::Micros (*)() noexcept;

  explicit SleepWatch(Reader slept = slept_so_far) noexcept : slept_(slept), known_(slept()) {}

  /// For how long it was asleep since the last time that this said so; 0: it was not.
  proto::Micros take() noexcept;

 private:
  Reader slept_;
  proto::Micros known_;
};

/// The processor's time that the calling thread has used in its life: always a system call.
proto::Micros thread_cpu_time() noexcept;

/// The wall clock, microseconds since the epoch: for people, never for deadlines.
std::int64_t wall_now() noexcept;

}  // namespace nbdgw::net
