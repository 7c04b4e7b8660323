#include "gateway/attach/link_watch.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace nbdgw::attach {

LinkWatch::LinkWatch(net::UniqueFd socket) : socket_(std::move(socket)), watch_(::epoll_create1(EPOLL_CLOEXEC)) {
  epoll_event event{};  // EPOLLHUP and EPOLLERR are always told
  if (!watch_ || ::epoll_ctl(watch_.get(), EPOLL_CTL_ADD, socket_.get(), &event) != 0)
    throw std::system_error(errno, std::generic_category(), "cannot watch the connection");
}

bool LinkWatch::dead() const noexcept {
  pollfd entry{.fd = socket_.get(), .events = 0, .revents = 0};
  return is_there() && ::poll(&entry, 1, 0) > 0;
}

void LinkWatch::shut_down() const noexcept {
  if (is_there()) ::shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace nbdgw::attach
