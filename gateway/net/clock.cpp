#include "gateway/net/clock.hpp"

#include <ctime>
#include <utility>

namespace nbdgw::net {
namespace {

std::int64_t read_clock(clockid_t clock) noexcept {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<std::int64_t>(time.tv_sec) * proto::kSecond + time.tv_nsec / 1000;
}

}  // namespace

proto::Micros steady_now() noexcept {
  return read_clock(CLOCK_MONOTONIC);
}

proto::Micros slept_so_far() noexcept {
  const proto::Micros with_sleep = read_clock(CLOCK_BOOTTIME);  // first: so it is never too much
  return with_sleep - read_clock(CLOCK_MONOTONIC);
}

proto::Micros SleepWatch::take() noexcept {
  const proto::Micros slept = slept_();
  if (slept - known_ < kNoticed) return 0;
  return slept - std::exchange(known_, slept);
}

proto::Micros thread_cpu_time() noexcept {
  return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

std::int64_t wall_now() noexcept {
  return read_clock(CLOCK_REALTIME);
}

}  // namespace nbdgw::net
