// The system calls of the gateway, as the linker gives them to us (-Wl,--wrap=NAME): those on descriptors of the
// simulated network go there, all others to the system. Also the clocks and the random bytes: nothing that the
// gateway sees comes from outside the world.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

#include <cstdarg>
#include <cstdint>
#include <cstring>

#include "tests/sim/system.hpp"

using nbdgw::sim::Network;
using nbdgw::sim::system;

extern "C" {

int __real_close(int fd);
int __real_poll(pollfd* fds, nfds_t count, int timeout);
ssize_t __real_read(int fd, void* buffer, size_t size);
ssize_t __real_write(int fd, const void* buffer, size_t size);
int __real_clock_gettime(clockid_t clock, timespec* time);

int __wrap_epoll_create1(int) {
  return system().network->epoll_create();
}

int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) {
  return system().network->epoll_ctl(epoll_fd, operation, fd, event);
}

/// The world calls a shard only when its sleep is over, so there is never anything to wait for.
int __wrap_epoll_wait(int epoll_fd, epoll_event* events, int most, int) {
  return system().network->epoll_wait(epoll_fd, events, most);
}

int __wrap_eventfd(unsigned, int) {
  return system().network->eventfd();
}

ssize_t __wrap_read(int fd, void* buffer, size_t size) {
  return Network::owns(fd) ? system().network->hush(fd) : __real_read(fd, buffer, size);
}

ssize_t __wrap_write(int fd, const void* buffer, size_t size) {
  return Network::owns(fd) ? system().network->ring(fd) : __real_write(fd, buffer, size);
}

int __wrap_close(int fd) {
  return Network::owns(fd) ? system().network->close(fd) : __real_close(fd);
}

int __wrap_socket(int, int type, int) {
  return system().network->socket(type);
}

int __wrap_connect(int fd, const sockaddr* address, socklen_t) {
  return system().network->connect(fd, address);
}

int __wrap_shutdown(int fd, int) {
  return system().network->shutdown_write(fd);
}

ssize_t __wrap_recvmsg(int fd, msghdr* message, int flags) {
  if ((flags & MSG_PEEK) != 0) return system().network->peek(fd, message->msg_iov, message->msg_iovlen);
  return system().network->receive(fd, message->msg_iov, message->msg_iovlen);
}

ssize_t __wrap_recv(int fd, void* buffer, size_t size, int) {
  if (buffer == nullptr) return system().network->discard(fd, size);
  const iovec one{buffer, size};
  return system().network->receive(fd, &one, 1);
}

ssize_t __wrap_sendmsg(int fd, const msghdr* message, int) {
  return system().network->send(fd, message->msg_iov, message->msg_iovlen);
}

int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  return system().network->getsockopt(fd, level, name, value, length);
}

int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t) {
  return system().network->setsockopt(fd, level, name, value);
}

int __wrap_getsockname(int fd, sockaddr* address, socklen_t* length) {
  return system().network->name_of(fd, false, address, length);
}

int __wrap_getpeername(int fd, sockaddr* address, socklen_t* length) {
  return system().network->name_of(fd, true, address, length);
}

int __wrap_poll(pollfd* fds, nfds_t count, int timeout) {
  if (!Network::owns(fds->fd)) return __real_poll(fds, count, timeout);
  fds->revents = POLLOUT;
  return system().network->poll_writable(fds->fd);
}

int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  int* const result = va_arg(arguments, int*);
  va_end(arguments);
  *result = request == SIOCOUTQ ? system().network->unsent(fd) : system().network->unread(fd);
  return 0;
}

int __wrap_clock_gettime(clockid_t clock, timespec* time) {
  const nbdgw::proto::Micros now = clock == CLOCK_THREAD_CPUTIME_ID ? system().cpu : system().timeline->now();
  const nbdgw::proto::Micros shown =
      now + (clock == CLOCK_REALTIME ? nbdgw::sim::kWallClock : 0) + (clock == CLOCK_BOOTTIME ? system().slept : 0);
  time->tv_sec = shown / nbdgw::proto::kSecond;
  time->tv_nsec = shown % nbdgw::proto::kSecond * 1000;
  return 0;
}

ssize_t __wrap_getrandom(void* buffer, size_t size, unsigned) {
  auto* out = static_cast<std::uint8_t*>(buffer);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<std::uint8_t>(system().random->next());
  return static_cast<ssize_t>(size);
}

int __wrap_sched_yield() {
  return 0;
}

}  // extern "C"
