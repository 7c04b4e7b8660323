// How an outgoing connection is left: both sides closed, or nobody there to wait for.
#include "gateway/shard/portal_socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>

#include <doctest/doctest.h>

#include "gateway/net/clock.hpp"
#include "gateway/net/unique_fd.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::net;
using namespace nbdgw::shard;
using State = PortalSocket::State;

namespace {

constexpr bool kPatient = true;

/// A connected PortalSocket and the other end of it.
class Pair final : public PortalSocket::Owner {
 public:
  Pair() : socket(poller_, *this, 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    socket.connect({{.host = "127.0.0.1", .port = ntohs(address.sin_port)}}, kNow);
    turn();
    REQUIRE(socket.state() == State::connected);
    peer = UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(peer);
  }

  /// Waits for something to be ready, at most for a short while, and serves it.
  void turn() {
    for (const epoll_event& event : poller_.wait(100 * proto::kMillisecond)) {
      static_cast<Watcher*>(event.data.ptr)->on_ready(event.events, kNow);
    }
  }

  void on_portal_socket(PortalSocket&, proto::Micros) override { ++told; }

  /// What the peer receives until the end of our side.
  std::string received() const {
    std::string all;
    std::array<char, 256> buffer{};
    for (ssize_t n = 0; (n = ::recv(peer.get(), buffer.data(), buffer.size(), 0)) > 0;) all.append(buffer.data(), n);
    return all;
  }

  static constexpr proto::Micros kNow = 1000 * proto::kSecond;

 private:
  Poller poller_;

 public:
  PortalSocket socket;
  UniqueFd peer;
  int told = 0;
};

}  // namespace

TEST_CASE("leaving ends with the peer's goodbye, and what still comes is thrown away") {
  Pair pair;
  REQUIRE(pair.socket.leave(kPatient, Pair::kNow));
  CHECK(pair.socket.state() == State::leaving);
  CHECK(pair.received() == "");  // returns: our side is closed
  const std::string late(100'000, 'x');
  REQUIRE(::send(pair.peer.get(), late.data(), late.size(), MSG_NOSIGNAL) == 100'000);
  const int told = pair.told;
  pair.turn();
  CHECK_FALSE(pair.socket.left(Pair::kNow));
  CHECK(pair.told == told);
  pair.peer.reset();
  for (int i = 0; i < 20 && !pair.socket.left(Pair::kNow); ++i) pair.turn();
  CHECK(pair.socket.left(Pair::kNow));
  CHECK(pair.told > told);
}

TEST_CASE("a peer whose TCP answers is waited for, within limits") {
  Pair pair;
  REQUIRE(pair.socket.leave(kPatient, Pair::kNow));
  CHECK(pair.socket.next_deadline() == Pair::kNow + kGoodbyeReached);
  CHECK(pair.received() == "");
  // Its TCP takes up to 40 ms to say that it has the end of our side.
  CHECK(test::becomes_true([&] { return !pair.socket.left(Pair::kNow + kGoodbyeReached); }, std::chrono::seconds(2)));
  CHECK(pair.socket.next_deadline() == Pair::kNow + kGoodbyeAnswered);
  CHECK_FALSE(pair.socket.left(Pair::kNow + kGoodbyeAnswered - 1));
  CHECK(pair.socket.left(Pair::kNow + kGoodbyeAnswered));
}

TEST_CASE("without patience the wait is short") {
  Pair pair;
  REQUIRE(pair.socket.leave(!kPatient, Pair::kNow));
  CHECK_FALSE(pair.socket.left(Pair::kNow + kGoodbyeReached - 1));
  CHECK(pair.socket.left(Pair::kNow + kGoodbyeReached));
}

TEST_CASE("a goodbye that does not arrive is not waited for") {
  Pair pair;
  // The peer reads nothing, and its window is full: our end of the stream stays behind what was sent before.
  const std::string much(1 << 20, 'x');
  while (::send(pair.socket.socket().native(), much.data(), much.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
  }
  REQUIRE(pair.socket.leave(kPatient, Pair::kNow));
  CHECK_FALSE(pair.socket.left(Pair::kNow + kGoodbyeReached - 1));
  CHECK(pair.socket.left(Pair::kNow + kGoodbyeReached));
}

TEST_CASE("a peer that has not said goodbye in time gets a reset: what is still to be sent never arrives") {
  for (const bool in_time : {false, true}) {
    CAPTURE(in_time);
    Pair pair;
    const std::string much(1 << 20, 'x');
    if (!in_time) {
      while (::send(pair.socket.socket().native(), much.data(), much.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
      }
    }
    REQUIRE(pair.socket.leave(kPatient, Pair::kNow));
    if (in_time) {
      CHECK(pair.received() == "");
      REQUIRE(::shutdown(pair.peer.get(), SHUT_WR) == 0);
      for (int i = 0; i < 20 && !pair.socket.left(Pair::kNow); ++i) pair.turn();
    }
    REQUIRE(pair.socket.left(Pair::kNow + kGoodbyeReached));
    pair.socket.close();
    for (int i = 0; i < 200; ++i) {
      std::array<char, 65536> buffer{};
      const ssize_t n = ::recv(pair.peer.get(), buffer.data(), buffer.size(), 0);
      if (n > 0) continue;
      CHECK((n < 0 && errno == ECONNRESET) == !in_time);
      break;
    }
  }
}

TEST_CASE("a connect begins with the address that is asked for, and tells which it was") {
  Pair pair;
  const std::uint16_t port = pair.socket.portal().port;
  const std::string first = "127.0.0.1:" + std::to_string(port);
  CHECK(pair.socket.address() == first);
  Address one;
  Address other;
  REQUIRE(parse_literal("127.0.0.1", port, one));
  REQUIRE(parse_literal("127.0.0.2", port, other));
  // Nobody listens any more: that it was tried first shows in what is told.
  for (const bool asked : {true, false}) {
    pair.socket.connect({{.host = "a name", .port = port}}, Pair::kNow, asked ? other.text() : "");
    const auto lookup = pair.socket.take_lookup();
    REQUIRE(lookup);
    CHECK(lookup->host == "a name");
    CHECK(lookup->port == port);
    CHECK_FALSE(pair.socket.take_lookup());
    pair.socket.on_resolved(*lookup, {one, other}, {}, Pair::kNow);
    for (int i = 0; i < 20 && !pair.socket.failed(); ++i) pair.turn();
    REQUIRE(pair.socket.failed());
    const auto at_one = pair.socket.failure().find(one.text());
    const auto at_other = pair.socket.failure().find(other.text());
    if (asked) CHECK(at_other < at_one);
    CHECK(pair.socket.address() == first);
  }
}

TEST_CASE("there is nobody to wait for") {
  SUBCASE("the connection has failed") {
    Pair pair;
    pair.socket.fail("a reason");
    CHECK_FALSE(pair.socket.leave(kPatient, Pair::kNow));
    CHECK(pair.socket.state() == State::closed);
  }
  SUBCASE("it was never made") {
    Pair pair;
    pair.socket.close();
    CHECK_FALSE(pair.socket.leave(kPatient, Pair::kNow));
    CHECK(pair.socket.next_deadline() == proto::kNever);
  }
}
