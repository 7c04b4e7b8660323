#include "gateway/net/stream_socket.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>

using namespace nbdgw::net;

namespace {

int low_water(int fd) {
  int bytes = 0;
  socklen_t length = sizeof bytes;
  REQUIRE(::getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, &length) == 0);
  return bytes;
}

}  // namespace

TEST_CASE("stream socket: what is expected of it is for its owner alone") {
  std::array<int, 2> ends{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const UniqueFd peer(ends[1]);
  StreamSocket socket{UniqueFd(ends[0])};
  socket.expect(1 << 20);
  CHECK(low_water(socket.native()) > 1);
  SUBCASE("less is expected") {
    socket.expect(1);
    CHECK(low_water(socket.native()) == 1);
  }
  SUBCASE("the next owner, in another process maybe, expects nothing yet") {
    const UniqueFd taken = socket.take_fd();
    CHECK(low_water(taken.get()) == 1);
    CHECK_FALSE(socket.is_open());
  }
}
