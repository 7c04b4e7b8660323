#pragma once

#include <cstdint>
#include <limits>

namespace nbdgw::proto {

/// A point on a steady clock, or a length of time, in microseconds. The pure layers never read a clock: `now` is
/// always a parameter, and what should happen later is asked for with next_deadline().
using Micros = std::int64_t;

/// "No deadline": later than every point in time.
inline constexpr Micros kNever = std::numeric_limits<Micros>::max();

inline constexpr Micros kMillisecond = 1'000;
inline constexpr Micros kSecond = 1'000'000;

}  // namespace nbdgw::proto
