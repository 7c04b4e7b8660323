// Portals and addresses that are tried side by side, because one of them says nothing.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"
#include "gateway/shard/portal_socket.hpp"
#include "tests/unit/net/swallowing.hpp"
#include "tests/unit/sockets.hpp"

using namespace nbdgw;
using namespace nbdgw::net;
using namespace nbdgw::shard;
using initiator::Portal;
using test::Swallowing;
using State = PortalSocket::State;

namespace {

/// A TCP port where connects are welcome, or, once it is closed, refused.
struct Open : test::Listening {
  Open() : Listening(4) {}
};

std::uint16_t refused_port() {
  return Open().port;
}

Portal here(std::uint16_t port) {
  return {.host = "127.0.0.1", .port = port};
}

Address address_here(std::uint16_t port) {
  Address address;
  REQUIRE(parse_literal("127.0.0.1", port, address));
  return address;
}

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

struct Race final : PortalSocket::Owner {
  void on_portal_socket(PortalSocket&, proto::Micros) override {}

  /// Serves what is ready, until it has come to an end or nothing comes any more for a short while.
  void turn() {
    while (socket.state() == State::connecting && !socket.failed()) {
      const auto ready = poller.wait(100 * proto::kMillisecond);
      if (ready.empty()) return;
      for (const epoll_event& event : ready) static_cast<Watcher*>(event.data.ptr)->on_ready(event.events, now);
    }
  }
  void wait(proto::Micros length) {
    now += length;
    socket.on_deadline(now);
    turn();
  }
  bool undecided() { return socket.state() == State::connecting && !socket.failed(); }

  Poller poller;
  proto::Micros now = 1000 * proto::kSecond;
  PortalSocket socket{poller, *this, 0};
};

}  // namespace

TEST_CASE("race: the first portal is preferred, and the others are not asked") {
  const Open first, second;
  Race race;
  race.socket.connect({here(first.port), here(second.port)}, race.now);
  CHECK(race.socket.next_deadline() == race.now + kAttemptDelay);
  race.turn();
  REQUIRE(race.socket.state() == State::connected);
  CHECK(race.socket.portal() == here(first.port));
  CHECK(race.socket.next_deadline() == proto::kNever);
}

TEST_CASE("race: while the first portal says nothing the next one is tried beside it, and the loser is closed") {
  const Swallowing first;
  const Open second;
  Race race;
  const std::ptrdiff_t before = open_descriptors();
  race.socket.connect({here(first.port()), here(second.port)}, race.now);
  race.wait(kAttemptDelay - 1);
  REQUIRE(race.undecided());
  CHECK(open_descriptors() == before + 1);
  race.wait(1);
  REQUIRE(race.socket.state() == State::connected);
  CHECK(race.socket.portal() == here(second.port));
  CHECK(race.socket.address() == "127.0.0.1:" + std::to_string(second.port));
  CHECK(open_descriptors() == before + 1);
  CHECK(race.socket.next_deadline() == proto::kNever);
  race.socket.close();
  CHECK(open_descriptors() == before);
}

TEST_CASE("race: of two that are there at once, the one that was begun first wins") {
  const Open first, second;
  Race race;
  race.socket.connect({here(first.port), here(second.port)}, race.now);
  race.now += kAttemptDelay;
  race.socket.on_deadline(race.now);  // before anybody has looked what the first has come to
  race.turn();
  REQUIRE(race.socket.state() == State::connected);
  CHECK(race.socket.portal() == here(first.port));
}

TEST_CASE("race: a first portal that refuses at once is the end: whose turn is next is for others to say") {
  const Open second;
  Race race;
  const std::uint16_t port = refused_port();
  race.socket.connect({here(port), here(second.port)}, race.now);
  race.turn();
  REQUIRE(race.socket.failed());
  CHECK(race.socket.failure().find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
  CHECK(race.socket.next_deadline() == proto::kNever);
  const std::ptrdiff_t before = open_descriptors();
  race.wait(kAttemptDelay);  // and stays it, whoever asks
  CHECK(race.socket.failed());
  CHECK(open_descriptors() == before);
}

TEST_CASE("race: once it runs, one that refuses makes room for the next at once") {
  const Swallowing first;
  const Open third;
  Race race;
  race.socket.connect({here(first.port()), here(refused_port()), here(third.port)}, race.now);
  race.wait(kAttemptDelay);
  REQUIRE(race.socket.state() == State::connected);
  CHECK(race.socket.portal() == here(third.port));
}

TEST_CASE("race: nobody answers") {
  const Swallowing first, second, third;
  Race race;
  const std::ptrdiff_t before = open_descriptors();
  race.socket.connect({here(first.port()), here(second.port()), here(third.port())}, race.now);
  race.wait(kAttemptDelay);
  race.wait(kAttemptDelay);
  CHECK(open_descriptors() == before + 3);
  CHECK(race.socket.next_deadline() == proto::kNever);  // there is nothing left to begin
  race.wait(100 * proto::kSecond);
  CHECK(race.undecided());
  race.socket.close();
  CHECK(open_descriptors() == before);
}

TEST_CASE("race: the addresses of one name, too") {
  const Swallowing bad;
  const Open good;
  Race race;
  race.socket.connect({{.host = "a name"}}, race.now);
  const auto lookup = race.socket.take_lookup();
  REQUIRE(lookup);
  race.socket.on_resolved(*lookup, {address_here(bad.port()), address_here(good.port)}, {}, race.now);
  race.turn();
  REQUIRE(race.undecided());
  race.wait(kAttemptDelay);
  REQUIRE(race.socket.state() == State::connected);
  CHECK(race.socket.address() == address_here(good.port).text());
  CHECK(race.socket.portal().host == "a name");
}

TEST_CASE("race: a name that is not found out about holds nobody up, and its late addresses are not missed") {
  const Open good;
  Race race;
  race.socket.connect({{.host = "a name"}, here(good.port)}, race.now);
  const auto lookup = race.socket.take_lookup();
  REQUIRE(lookup);
  race.wait(kAttemptDelay);
  REQUIRE(race.socket.state() == State::connected);
  race.socket.on_resolved(*lookup, {address_here(good.port)}, {}, race.now);
  CHECK(race.socket.state() == State::connected);
  CHECK(race.socket.portal() == here(good.port));
}

TEST_CASE("race: names among the others are looked up when it is their turn") {
  const Swallowing first;
  const Open good;
  Race race;
  race.socket.connect({here(first.port()), {.host = "nobody"}, {.host = "somebody"}}, race.now);
  CHECK_FALSE(race.socket.take_lookup());
  race.wait(kAttemptDelay);
  const auto nobody = race.socket.take_lookup();
  REQUIRE(nobody);
  CHECK(nobody->host == "nobody");
  race.socket.on_resolved(*nobody, {}, "not known", race.now);
  const auto somebody = race.socket.take_lookup();
  REQUIRE(somebody);
  CHECK(somebody->host == "somebody");
  CHECK(race.undecided());
  race.socket.on_resolved(*somebody, {address_here(good.port)}, {}, race.now);
  race.turn();
  REQUIRE(race.socket.state() == State::connected);
  CHECK(race.socket.portal().host == "somebody");
}

TEST_CASE("race: a result that comes too late for its attempt is ignored") {
  const Open good;
  Race race;
  race.socket.connect({{.host = "a name"}}, race.now);
  const auto old = race.socket.take_lookup();
  REQUIRE(old);
  race.socket.connect({{.host = "a name"}}, race.now);
  const auto lookup = race.socket.take_lookup();
  REQUIRE(lookup);
  race.socket.on_resolved(*old, {}, "not known", race.now);
  CHECK(race.undecided());
  race.socket.on_resolved(*lookup, {}, "not known", race.now);
  REQUIRE(race.socket.failed());
  CHECK(race.socket.failure() == "cannot look up a name: not known");
}

TEST_CASE("race: however many addresses say nothing, few are asked at a time, and all in turn") {
  const Swallowing bad;
  const Open good;
  Race race;
  const std::ptrdiff_t before = open_descriptors();
  std::vector<Portal> portals(3 * kMaxAttempts, here(bad.port()));
  portals.push_back(here(good.port));
  race.socket.connect(portals, race.now);
  for (std::size_t i = 1; i < portals.size(); ++i) {
    REQUIRE(race.undecided());
    CHECK(open_descriptors() - before == static_cast<std::ptrdiff_t>(std::min(i, kMaxAttempts)));
    race.wait(kAttemptDelay);
  }
  REQUIRE(race.socket.state() == State::connected);
  CHECK(race.socket.portal() == here(good.port));
}
