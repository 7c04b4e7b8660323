// What is set on TCP sockets, as the kernel says.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "gateway/net/stream_socket.hpp"
#include "gateway/net/unique_fd.hpp"

using namespace nbdgw::net;

namespace {

/// Two ends of a connection over loopback: the one that connected, and the one that was accepted.
std::pair<UniqueFd, UniqueFd> connection() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  UniqueFd near(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(near.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  UniqueFd far(::accept(listener.get(), nullptr, nullptr));
  REQUIRE(far);
  return {std::move(near), std::move(far)};
}

int number(int fd, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  CHECK(::getsockopt(fd, level, option, &value, &length) == 0);
  return value;
}

std::string congestion_control(int fd) {
  char name[16] = {};
  socklen_t length = sizeof name;
  CHECK(::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0);
  return name;
}

}  // namespace

TEST_CASE("TCP options: no delay, keepalive, and no pacing inside the machine") {
  const auto [near, far] = connection();
  for (const UniqueFd* end : {&near, &far}) {
    set_tcp_options(end->get());
    CHECK(number(end->get(), IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK(number(end->get(), SOL_SOCKET, SO_KEEPALIVE) != 0);
    CHECK(number(end->get(), IPPROTO_TCP, TCP_KEEPIDLE) == kKeepAliveIdleS);
    CHECK(congestion_control(end->get()) == "reno");
  }
}

TEST_CASE("TCP options: another kind of socket is left alone") {
  int ends[2] = {};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd near(ends[0]), far(ends[1]);
  set_tcp_options(near.get());
  CHECK(number(near.get(), SOL_SOCKET, SO_KEEPALIVE) == 0);
}

TEST_CASE("TCP options: a socket that is not connected keeps the system's congestion control") {
  const UniqueFd alone(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::string before = congestion_control(alone.get());
  set_tcp_options(alone.get());
  CHECK(congestion_control(alone.get()) == before);
  CHECK(number(alone.get(), IPPROTO_TCP, TCP_NODELAY) != 0);
}
