#include "gateway/net/poller.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>

#include "proto/assert.hpp"

namespace nbdgw::net {

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw std::system_error(errno, std::system_category(), "epoll_create1");
}

bool Poller::add(int fd, std::uint32_t events, Watcher& watcher) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watcher;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Poller::modify(int fd, std::uint32_t events, Watcher& watcher) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watcher;
  NBDGW_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0, "the descriptor is in the set");
}

void Poller::remove(int fd) noexcept {
  epoll_event unused{};
  NBDGW_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &unused) == 0, "the descriptor is in the set");
}

std::span<const epoll_event> Poller::wait(proto::Micros timeout) noexcept {
  int milliseconds = -1;
  if (timeout != proto::kNever) {
    const proto::Micros left = std::max<proto::Micros>(timeout, 0);
    const proto::Micros rounded = left / proto::kMillisecond + (left % proto::kMillisecond != 0 ? 1 : 0);
    milliseconds = static_cast<int>(std::min<proto::Micros>(rounded, std::numeric_limits<int>::max()));
  }
  const int n = ::epoll_wait(epoll_.get(), events_, kMaxEvents, milliseconds);
  NBDGW_ASSERT(n >= 0 || errno == EINTR, "epoll_wait() fails only when interrupted");
  return {events_, static_cast<std::size_t>(std::max(n, 0))};
}

}  // namespace nbdgw::net
