#include "gateway/net/clock.hpp"

#include <ctime>

namespace nbdgw::net {

proto::Micros steady_now() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<proto::Micros>(time.tv_sec) * proto::kSecond + time.tv_nsec / 1000;
}

std::int64_t wall_now() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<std::int64_t>(time.tv_sec) * proto::kSecond + time.tv_nsec / 1000;
}

}  // namespace nbdgw::net
