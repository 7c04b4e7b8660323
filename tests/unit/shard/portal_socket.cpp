// How an outgoing connection is left: both sides closed, or nobody there to wait for.
#include "gateway/shard/portal_socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "gateway/net/clock.hpp"
#include "gateway/net/unique_fd.hpp"
#include "tests/unit/sockets.hpp"
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
    const test::Listening listener(1);
    socket.connect({{.host = "127.0.0.1", .port = listener.port}}, kNow);
    turn();
    REQUIRE(socket.state() == State::connected);
    peer = listener.accept();
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

  /// The peer reads nothing, and its window is full.
  void fill() {
    const std::string much(1 << 20, 'x');
    while (::send(socket.socket().native(), much.data(), much.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
  }

  /// Whether all that the peer receives ends in a reset.
  static bool ends_in_reset(const UniqueFd& peer) {
    std::array<char, 65536> buffer{};
    ssize_t n = 0;
    while ((n = ::recv(peer.get(), buffer.data(), buffer.size(), 0)) > 0) {
    }
    return n < 0 && errno == ECONNRESET;
  }
  bool ends_in_reset() const { return ends_in_reset(peer); }

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
  pair.fill();  // our end of the stream stays behind what was sent before
  REQUIRE(pair.socket.leave(kPatient, Pair::kNow));
  CHECK_FALSE(pair.socket.left(Pair::kNow + kGoodbyeReached - 1));
  CHECK(pair.socket.left(Pair::kNow + kGoodbyeReached));
}

TEST_CASE("a peer that has not said goodbye in time gets a reset: what is still to be sent never arrives") {
  for (const bool in_time : {false, true}) {
    CAPTURE(in_time);
    Pair pair;
    if (!in_time) pair.fill();
    REQUIRE(pair.socket.leave(kPatient, Pair::kNow));
    if (in_time) {
      CHECK(pair.received() == "");
      REQUIRE(::shutdown(pair.peer.get(), SHUT_WR) == 0);
      for (int i = 0; i < 20 && !pair.socket.left(Pair::kNow); ++i) pair.turn();
    }
    REQUIRE(pair.socket.left(Pair::kNow + kGoodbyeReached));
    pair.socket.close();
    CHECK(pair.ends_in_reset() == !in_time);
  }
}

TEST_CASE("however it ends, what has not arrived by then never does") {
  enum class End { closed, closed_while_leaving, at_the_end, gone, killed };
  for (const End end : {End::closed, End::closed_while_leaving, End::at_the_end, End::gone, End::killed}) {
    CAPTURE(static_cast<int>(end));
    auto pair = std::make_unique<Pair>();
    const UniqueFd peer = std::move(pair->peer);
    pair->fill();
    if (end == End::closed_while_leaving || end == End::at_the_end) REQUIRE(pair->socket.leave(kPatient, Pair::kNow));
    if (end == End::at_the_end) {
      pair->socket.close_at_the_end();
    } else if (end == End::killed) {
      // Another process has it, and closes no file itself.
      const pid_t child = ::fork();
      if (child == 0) ::pause();
      pair->socket.socket().take_fd().reset();
      REQUIRE(::kill(child, SIGKILL) == 0);
      REQUIRE(::waitpid(child, nullptr, 0) == child);
    } else if (end == End::gone) {
      pair.reset();
    } else {
      pair->socket.close();
    }
    CHECK(Pair::ends_in_reset(peer));
  }
}

TEST_CASE("a session that has logged out ends with no reset, though nobody waits for the peer's goodbye") {
  Pair pair;
  REQUIRE(::send(pair.socket.socket().native(), "x", 1, MSG_NOSIGNAL) == 1);
  std::array<char, 1> byte{};
  REQUIRE(::recv(pair.peer.get(), byte.data(), byte.size(), 0) == 1);
  // The peer's TCP takes its time to say that it has it.
  REQUIRE(::send(pair.peer.get(), "y", 1, MSG_NOSIGNAL) == 1);
  pair.turn();
  REQUIRE(::recv(pair.socket.socket().native(), byte.data(), byte.size(), 0) == 1);
  REQUIRE(pair.socket.leave(kPatient, Pair::kNow));
  pair.socket.close_at_the_end();
  CHECK_FALSE(pair.ends_in_reset());
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
