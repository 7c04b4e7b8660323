#include "gateway/net/clock.hpp"

#include <ctime>

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

proto::Micros thread_cpu_time() noexcept {
  return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

std::int64_t wall_now() noexcept {
  return read_clock(CLOCK_REALTIME);
}

}  // namespace nbdgw::net
