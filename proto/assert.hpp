#pragma once

namespace nbdgw::proto {

/// Prints what was broken and where, then aborts. Never returns.
[[noreturn]] void assertion_failed(const char* condition, const char* meaning, const char* file, int line) noexcept;

}  // namespace nbdgw::proto

/// An invariant of our own, checked in every build. It is for our mistakes only: what a peer sent is never asserted,
/// it is answered with an error, a counter and a log line.
#define NBDGW_ASSERT(condition, meaning) \
  ((condition) ? static_cast<void>(0) : ::nbdgw::proto::assertion_failed(#condition, meaning, __FILE__, __LINE__))
