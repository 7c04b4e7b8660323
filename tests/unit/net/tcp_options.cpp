// What is set on TCP sockets, as the kernel says.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "gateway/net/tcp_options.hpp"
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

TEST_CASE("TCP options: no pacing from the first byte to an address of this machine, whatever it is") {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::string before = congestion_control(socket.get());
  sockaddr_in away{};
  away.sin_family = AF_INET;
  away.sin_port = htons(3260);
  away.sin_addr.s_addr = htonl(0xc0000201);  // 192.0.2.1, which nobody has
  set_options_to_connect(socket.get(), reinterpret_cast<sockaddr*>(&away), sizeof away);
  CHECK(congestion_control(socket.get()) == before);
  sockaddr_in here = away;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 7);
  set_options_to_connect(socket.get(), reinterpret_cast<sockaddr*>(&here), sizeof here);
  CHECK(congestion_control(socket.get()) == "reno");
}

TEST_CASE("TCP options: a listener's clients begin without pacing where they can only come from this machine") {
  for (const auto& [bound_to, unpaced] : {std::pair{INADDR_LOOPBACK, true}, std::pair{INADDR_ANY, false}}) {
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const std::string before = congestion_control(listener.get());
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(bound_to);
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    set_options_to_listen(listener.get());
    CHECK(congestion_control(listener.get()) == (unpaced ? "reno" : before));
  }
}

TEST_CASE("TCP options: another kind of socket is left alone") {
  int ends[2] = {};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd near(ends[0]), far(ends[1]);
  set_options_to_listen(near.get());
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
