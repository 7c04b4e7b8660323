#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tests/sim/network.hpp"
#include "tests/sim/rubbish.hpp"
#include "tests/sim/socket.hpp"

namespace nbdgw::sim {
namespace {

int fails_with(int error) noexcept {
  errno = error;
  return -1;
}

std::uint16_t port_of(std::uint64_t id) noexcept {
  return static_cast<std::uint16_t>(10000 + id % 50000);
}

}  // namespace

// ---- epoll and eventfd ----

int Network::epoll_create() {
  last_epoll_ = add(Socket::poller).fd;
  return last_epoll_;
}

int Network::epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) {
  Socket& socket = *find(fd);
  if (operation == EPOLL_CTL_DEL) {
    if (socket.poll_set != epoll_fd) return fails_with(ENOENT);
    socket.poll_set = -1;
    return 0;
  }
  if (operation == EPOLL_CTL_ADD && socket.poll_set >= 0) return fails_with(EEXIST);
  if (operation == EPOLL_CTL_MOD && socket.poll_set != epoll_fd) return fails_with(ENOENT);
  socket.poll_set = epoll_fd;
  socket.interest = event->events;
  socket.data = event->data.ptr;
  changed(socket);
  return 0;
}

/// It may be ready now: its poller looks at it.
void Network::changed(Socket& socket) {
  if (socket.poll_set < 0 || socket.listed) return;
  socket.listed = true;
  find(socket.poll_set)->listed_ids.push_back(socket.id);
}

std::uint32_t Network::events_of(const Socket& socket) const noexcept {
  if (socket.kind == Socket::event) return socket.rings > 0 ? EPOLLIN | EPOLLOUT : EPOLLOUT;
  if (socket.state == Socket::State::fresh) return EPOLLOUT | EPOLLHUP;
  if (socket.state == Socket::State::connecting) return 0;
  if (socket.state == Socket::State::dead)
    return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | (socket.error != 0 ? EPOLLERR : 0U);
  std::uint32_t events = 0;
  const std::size_t enough = static_cast<std::size_t>(socket.low_water);
  if (socket.in_ended) events |= EPOLLIN | EPOLLRDHUP;
  if (socket.in.arrived() > 0 && socket.in.arrived() >= enough) events |= EPOLLIN;
  if (socket.out.held() <= socket.habits.room - socket.habits.room / 3) events |= EPOLLOUT;
  if (socket.in_ended && socket.shut) events |= EPOLLHUP;
  return events;
}

bool Network::is_ready(int epoll_fd) {
  epoll_event one;
  return collect(epoll_fd, &one, 1) > 0;
}

/// Level-triggered: who is ready stays on the list, at its end, so that everybody has his turn.
int Network::epoll_wait(int epoll_fd, epoll_event* events, int most) {
  return collect(epoll_fd, events, most);
}

int Network::collect(int epoll_fd, epoll_event* events, int most) {
  std::vector<std::uint64_t>& ids = find(epoll_fd)->listed_ids;
  int count = 0;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Socket* const socket = find_id(ids[i]);
    if (socket == nullptr) continue;
    const bool here = socket->poll_set == epoll_fd;
    const std::uint32_t ready = here ? events_of(*socket) & (socket->interest | EPOLLERR | EPOLLHUP) : 0;
    if (ready == 0) {
      socket->listed = false;
      if (socket->poll_set >= 0 && !here) changed(*socket);
      continue;
    }
    ids[kept++] = ids[i];
    if (count == most) continue;
    events[count].events = ready;
    events[count].data.ptr = socket->data;
    ++count;
  }
  ids.resize(kept);
  return count;
}

int Network::eventfd() {
  return add(Socket::event).fd;
}

int Network::ring(int fd) {
  Socket& socket = *find(fd);
  ++socket.rings;
  changed(socket);
  return 8;
}

int Network::hush(int fd) {
  find(fd)->rings = 0;
  return 8;
}

// ---- sockets ----

ssize_t Network::receive(int fd, const iovec* buffers, std::size_t count) {
  Socket& socket = *find(fd);
  for (std::size_t i = 0; i < count; ++i) use_memory(buffers[i].iov_base, buffers[i].iov_len);
  const std::size_t n = socket.in.take(buffers, count);
  if (n > 0) return static_cast<ssize_t>(n);
  if (const int error = std::exchange(socket.error, 0); error != 0) return fails_with(error);
  if (socket.in_ended || socket.state == Socket::State::dead) return 0;
  return fails_with(socket.state == Socket::State::connected ? EAGAIN : ENOTCONN);
}

ssize_t Network::peek(int fd, const iovec* buffers, std::size_t count) {
  return static_cast<ssize_t>(find(fd)->in.peek(buffers, count));
}

ssize_t Network::discard(int fd, std::size_t most) {
  const std::size_t total = find(fd)->in.skip(most);
  return total > 0 ? static_cast<ssize_t>(total) : receive(fd, nullptr, 0);
}

ssize_t Network::send(int fd, const iovec* buffers, std::size_t count) {
  Socket& socket = *find(fd);
  if (const int error = std::exchange(socket.error, 0); error != 0) return fails_with(error);
  if (socket.shut || socket.state != Socket::State::connected) return fails_with(EPIPE);
  const std::size_t room = socket.habits.room > socket.out.held() ? socket.habits.room - socket.out.held() : 0;
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += buffers[i].iov_len;
  total = std::min(total, room);
  if (total == 0) return fails_with(EAGAIN);
  if (socket.out.held() == 0) socket.owed_since = timeline_.now();
  std::size_t done = 0;
  for (std::size_t i = 0; i < count && done < total; ++i) {
    const std::size_t n = std::min(buffers[i].iov_len, total - done);
    const auto* const from = static_cast<const std::uint8_t*>(buffers[i].iov_base);
    const std::size_t kept = use_memory(from, n) ? kept_of_payload() : kCellBytes;
    socket.out.put(Bytes(from, n), kept, reinterpret_cast<std::uintptr_t>(from) % kCellBytes);
    done += n;
  }
  socket.out.end_of_put();
  plan_arrivals(socket, false, total);
  return static_cast<ssize_t>(total);
}

int Network::shutdown_write(int fd) {
  Socket& socket = *find(fd);
  if (socket.state != Socket::State::connected) return fails_with(ENOTCONN);
  if (!std::exchange(socket.shut, true)) plan_end(socket, false);
  return 0;
}

/// A poller is closed: what it watched nobody does, and what is watched by another one since then is that one's.
void Network::let_go_of_all(int epoll_fd, const std::vector<std::uint64_t>& listed) {
  for (Socket* const each : by_fd_) {
    if (each != nullptr && each->poll_set == epoll_fd) each->poll_set = -1;
  }
  for (const std::uint64_t id : listed) {
    Socket* const each = find_id(id);
    if (each == nullptr) continue;
    each->listed = false;
    changed(*each);
  }
}

/// What was sent before still arrives, however late, unless it is a reset: by SO_LINGER, or as there is input that
/// nobody has read.
int Network::close(int fd) {
  Socket& socket = *find(fd);
  by_fd_[static_cast<std::size_t>(fd - kFirstFd)] = nullptr;
  socket.fd = -1;
  socket.poll_set = -1;
  if (socket.kind == Socket::poller) let_go_of_all(fd, socket.listed_ids);
  if (socket.kind != Socket::tcp) {
    all_.erase(socket.id);
    return 0;
  }
  const bool resets = socket.linger_0 || socket.in.arrived() > 0 || socket.state == Socket::State::connecting;
  socket.in.clear();
  if (resets) {
    // What has left this machine may arrive before the reset does.
    if (random_.chance(0.5)) socket.out.cut();
    plan_model_reset(socket);
  } else if (socket.state == Socket::State::connected && !std::exchange(socket.shut, true)) {
    plan_end(socket, false);
  }
  release(socket);
  return 0;
}

int Network::unread(int fd) {
  return static_cast<int>(find(fd)->in.arrived());
}

int Network::unsent(int fd) {
  return static_cast<int>(find(fd)->out.held());
}

int Network::poll_writable(int fd) {
  return (events_of(*find(fd)) & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0 ? 1 : 0;
}

int Network::getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  Socket& socket = *find(fd);
  if (level == SOL_SOCKET && name == SO_ERROR) {
    const int error = std::exchange(socket.error, 0);
    std::memcpy(value, &error, sizeof error);
    return 0;
  }
  if (level != IPPROTO_TCP || name != TCP_INFO) return fails_with(ENOPROTOOPT);
  tcp_info info{};
  info.tcpi_state = TCP_ESTABLISHED;
  if (socket.shut)
    info.tcpi_state = socket.out.held() == 0 && !socket.vanished && !socket.stalled ? TCP_FIN_WAIT2 : TCP_FIN_WAIT1;
  const Micros silent = timeline_.now() - socket.heard_at;
  info.tcpi_last_ack_recv = info.tcpi_last_data_recv = static_cast<std::uint32_t>(silent / proto::kMillisecond);
  // Sent again after 0.2 s, 0.6 s, 1.4 s, ...
  if (socket.out.held() > 0 && (socket.vanished || socket.stalled)) {
    const Micros asked = timeline_.now() - std::max(socket.heard_at, socket.owed_since);
    for (Micros wait = 200 * proto::kMillisecond; wait < asked; wait = 2 * wait + 200 * proto::kMillisecond)
      ++info.tcpi_total_retrans;
  }
  std::memcpy(value, &info, std::min<std::size_t>(*length, sizeof info));
  return 0;
}

int Network::setsockopt(int fd, int level, int name, const void* value) {
  Socket& socket = *find(fd);
  if (level == SOL_SOCKET && name == SO_RCVLOWAT) {
    std::memcpy(&socket.low_water, value, sizeof socket.low_water);
    changed(socket);
  }
  if (level == SOL_SOCKET && name == SO_LINGER) {
    linger how{};
    std::memcpy(&how, value, sizeof how);
    socket.linger_0 = how.l_onoff != 0 && how.l_linger == 0;
  }
  return 0;
}

std::string Network::client_name(std::uint64_t id) {
  return "10.9.0.1:" + std::to_string(port_of(id));
}

int Network::name_of(int fd, bool of_peer, sockaddr* address, socklen_t* length) {
  const Socket& socket = *find(fd);
  if (of_peer && socket.state == Socket::State::dead) return fails_with(ENOTCONN);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port_of(socket.id));
  name.sin_addr.s_addr = htonl(of_peer ? 0x0a090001 : 0x0a000001);  // 10.9.0.1, 10.0.0.1
  std::memcpy(address, &name, std::min<std::size_t>(*length, sizeof name));
  *length = sizeof name;
  return 0;
}

}  // namespace nbdgw::sim
