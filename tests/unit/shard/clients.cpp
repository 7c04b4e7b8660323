// NBD clients on one shard: real sockets, the real engine, an export in memory.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "gateway/shard/nbd_client.hpp"
#include "tests/unit/shard/memory_export.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Command;
using proto::nbd::Reply;

namespace {

constexpr std::size_t kDisk = 8 << 20;

struct OneShard {
  explicit OneShard(std::uint64_t memory = 64 << 20, proto::Micros handshake = 10 * proto::kSecond,
                    bool online = true)
      : shard(0, {.memory = memory, .initiator_name = {}}), disk(shard, "disk", kDisk) {
    entrance.options.handshake_timeout = handshake;
    disk.online = online;
    shard.set_places(std::make_shared<const shard::ExportPlaces>(shard::ExportPlaces{{"disk", {&shard}}}));
    shard.start();
  }
  ~OneShard() {
    shard.stop();
    CHECK(disk.in_flight() == 0);
    CHECK(shard.pool().used() == 0);
  }
  TestClient connect() { return connect_to(shard, entrance); }
  std::size_t clients() {
    return on_shard(shard, [&] { return shard.client_count(); });
  }
  /// Waits until so many clients are left.
  void await_clients(std::size_t count) {
    until([&] { return clients() == count; });
  }

  shard::Shard shard;
  MemoryExport disk;
  Entrance entrance{std::make_shared<nbd::ExportDirectory>(nbd::ExportDirectory{{"disk", ""}})};
};

std::vector<std::uint8_t> pattern(std::size_t size, std::uint8_t first) {
  std::vector<std::uint8_t> data(size);
  std::iota(data.begin(), data.end(), first);
  return data;
}

}  // namespace

TEST_CASE("data written comes back, small and large, whatever the cut of the TCP stream") {
  OneShard one;
  TestClient client = one.connect();
  REQUIRE(client.go("disk") == Reply::ack);
  CHECK(client.size() == kDisk);
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{511}, std::size_t{4096}, std::size_t{65537}, std::size_t{3 << 20}}) {
    const auto data = pattern(size, static_cast<std::uint8_t>(size));
    REQUIRE(client.write_at(12345, data));
    std::vector<std::uint8_t> back(size);
    REQUIRE(client.read_at(12345, back));
    CHECK(back == data);
  }
}

TEST_CASE("a handshake byte by byte is as good as one in a piece") {
  OneShard one;
  TestClient client = one.connect();
  REQUIRE(client.greet());
  std::vector<std::uint8_t> option{'I', 'H', 'A', 'V', 'E', 'O', 'P', 'T', 0,   0,   0,   7, 0,
                                   0,   0,   10,  0,   0,   0,   4,   'd', 'i', 's', 'k', 0, 0};
  for (const std::uint8_t& byte : option) REQUIRE(client.write({&byte, 1}));
  CHECK(client.read_go_reply() == Reply::ack);
}

TEST_CASE("many requests in one piece are all answered") {
  OneShard one;
  TestClient client = one.connect();
  REQUIRE(client.go("disk") == Reply::ack);
  constexpr std::uint64_t kCount = 1000;
  std::jthread sender([&] {
    for (std::uint64_t i = 0; i < kCount; ++i) client.send_request(Command::read, i, i * 4096, 4096);
  });
  std::vector<bool> seen(kCount);
  std::vector<std::uint8_t> data(4096);
  for (std::uint64_t i = 0; i < kCount; ++i) {
    std::uint64_t cookie = 0;
    std::uint32_t error = 0;
    REQUIRE(client.read_reply(cookie, error));
    REQUIRE(error == 0);
    REQUIRE(cookie < kCount);
    CHECK(!seen[cookie]);
    seen[cookie] = true;
    REQUIRE(client.read(data));
  }
}

TEST_CASE("an unknown export gets an error that says so") {
  OneShard one;
  TestClient client = one.connect();
  CHECK(client.go("nope") == Reply::err_unknown);
  CHECK(!client.error_text().empty());
}

TEST_CASE("a client waits for its export and is served when that comes") {
  OneShard one(64 << 20, 10 * proto::kSecond, false);
  TestClient client = one.connect();
  REQUIRE(client.greet());
  client.send_go("disk");
  one.await_clients(1);
  on_shard(one.shard, [&] {
    one.disk.online = true;
    one.shard.exports_changed();
  });
  CHECK(client.read_go_reply() == Reply::ack);
}

TEST_CASE("an export that does not come: the client is told why when the handshake's time is up") {
  OneShard one(64 << 20, 100 * proto::kMillisecond, false);
  TestClient client = one.connect();
  CHECK(client.go("disk") == Reply::err_unknown);
  CHECK(client.error_text().find("the test has not put it online") != std::string::npos);
}

TEST_CASE("a client that says nothing is closed when the handshake's time is up") {
  OneShard one(64 << 20, 50 * proto::kMillisecond);
  TestClient client = one.connect();
  REQUIRE(client.greet());
  std::uint8_t byte = 0;
  CHECK(!client.read({&byte, 1}));
  client.close();
  one.await_clients(0);
}

TEST_CASE("a client that says goodbye and shuts its side gets the replies it is owed") {
  OneShard one;
  TestClient client = one.connect();
  REQUIRE(client.go("disk") == Reply::ack);
  on_shard(one.shard, [&] { one.disk.hold = true; });
  for (std::uint64_t i = 0; i < 8; ++i) client.send_request(Command::read, i, i * 4096, 4096);
  client.send_request(Command::disc, 0, 0, 0);
  ::shutdown(client.fd(), SHUT_WR);
  one.disk.await_in_flight(8);
  on_shard(one.shard, [&] { one.disk.set_hold(false); });
  std::vector<std::uint8_t> data(4096);
  for (int i = 0; i < 8; ++i) {
    std::uint64_t cookie = 0;
    std::uint32_t error = 1;
    REQUIRE(client.read_reply(cookie, error));
    CHECK(error == 0);
    REQUIRE(client.read(data));
  }
  std::uint8_t byte = 0;
  CHECK(!client.read({&byte, 1}));
  one.await_clients(0);
}

TEST_CASE("a client that vanishes with requests in flight leaves nothing behind") {
  OneShard one;
  on_shard(one.shard, [&] { one.disk.hold = true; });
  for (const bool reset : {false, true}) {
    TestClient client = one.connect();
    REQUIRE(client.go("disk") == Reply::ack);
    for (std::uint64_t i = 0; i < 8; ++i) client.send_request(Command::read, i, i * 4096, 4096);
    one.disk.await_in_flight(8);
    if (reset) {
      client.reset();
    } else {
      client.close();
    }
    one.await_clients(0);
    CHECK(on_shard(one.shard, [&] { return one.disk.in_flight(); }) == 0);
  }
}

TEST_CASE("a client that is sent away and cannot finish in time is cut off, the others are left alone") {
  OneShard one;
  TestClient client = one.connect();
  REQUIRE(client.go("disk") == Reply::ack);
  on_shard(one.shard, [&] { one.disk.hold = true; });
  client.send_request(Command::read, 1, 0, 4096);
  one.disk.await_in_flight(1);
  TestClient other = one.connect();
  REQUIRE(other.go("disk") == Reply::ack);
  one.shard.post([&](proto::Micros now) {
    for (const auto& here : one.shard.clients()) {
      if (here->engine().in_flight() > 0) here->send_away(100 * proto::kMillisecond, now);
    }
  });
  std::uint8_t byte = 0;
  CHECK(!client.read({&byte, 1}));
  one.await_clients(1);
  on_shard(one.shard, [&] { one.disk.set_hold(false); });
  const auto data = pattern(4096, 1);
  CHECK(other.write_at(0, data));
}

TEST_CASE("with too little memory for all, clients wait and all are served") {
  OneShard one(2 << 20);
  constexpr int kClients = 6;
  constexpr std::size_t kSize = 1 << 20;
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int c = 0; c < kClients; ++c) {
    threads.emplace_back([&, c] {
      TestClient client = one.connect();
      if (client.go("disk") != Reply::ack) return;
      const auto data = pattern(kSize, static_cast<std::uint8_t>(c));
      std::vector<std::uint8_t> back(kSize);
      bool all = true;
      for (int i = 0; i < 10; ++i) {
        all = all && client.write_at(static_cast<std::uint64_t>(c) * kSize, data) &&
              client.read_at(static_cast<std::uint64_t>(c) * kSize, back) && back == data;
      }
      if (all) ++good;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == kClients);
}

TEST_CASE("replies that the client does not take are held back, and come when it does") {
  OneShard one;
  TestClient client = one.connect();
  REQUIRE(client.go("disk") == Reply::ack);
  constexpr std::uint32_t kSize = 4 << 20;  // more than the buffers of a loopback connection
  for (std::uint64_t i = 0; i < 4; ++i) client.send_request(Command::read, i, i, kSize);
  one.disk.await_in_flight(1);
  std::vector<std::uint8_t> data(kSize);
  for (int i = 0; i < 4; ++i) {
    std::uint64_t cookie = 0;
    std::uint32_t error = 1;
    REQUIRE(client.read_reply(cookie, error));
    CHECK(error == 0);
    REQUIRE(client.read(data));
  }
}
