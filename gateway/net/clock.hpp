#pragma once

#include <cstdint>

#include "proto/time.hpp"

namespace nbdgw::net {

/// The steady clock that all engines of this process run on. Read once per turn of a shard and handed down: on many
/// virtual machines a clock read is a system call.
proto::Micros steady_now() noexcept;

/// The processor's time that the calling thread has used in its life: always a system call.
proto::Micros thread_cpu_time() noexcept;

/// The wall clock, microseconds since the epoch: for people, never for deadlines.
std::int64_t wall_now() noexcept;

}  // namespace nbdgw::net
