// A gateway takes the place of another one, and clients go on where they were.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <utility>

#include "gateway/control/gateway.hpp"
#include "tests/unit/control/gateway_rig.hpp"
#include "tests/unit/control/reload_rig.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Command;

namespace {

/// Gateways one after the other, each of which gets what the one before has left.
class Generations {
 public:
  explicit Generations(config::Config first) : config(std::move(first)) { begin(); }

  void begin() {
    gateway =
        std::make_unique<control::Gateway>(config, control::GatewayOptions{.kept = &kept, .keep_clients = true});
    gateway->start();
    CHECK(kept.clients.empty());  // they go on, or are closed
    kept = {};
  }
  void end() {
    gateway->drain();
    gateway->wait();
    kept = gateway->take_kept();
    gateway.reset();
  }
  void restart() {
    end();
    begin();
  }

  config::Config config;
  shard::KeptState kept;
  std::unique_ptr<control::Gateway> gateway;
};

/// The connection has been closed.
bool at_end(TestClient& client) {
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;
  return !client.read_reply(cookie, error);
}

}  // namespace

TEST_CASE("handover: clients under load go through restarts, and what they wrote is there") {
  const Target a("a");
  const Target b("b");
  Generations all(config_for({&a, &b}));
  constexpr int kClients = 4;
  constexpr std::size_t kBlock = 8192;
  std::atomic<bool> stop{false};
  std::array<std::atomic<std::uint32_t>, kClients> done{};
  std::array<bool, kClients> sound{};
  std::vector<std::thread> threads;
  for (std::size_t c = 0; c < kClients; ++c) {
    threads.emplace_back([&, c, client = attach(*all.gateway, c % 2 == 0 ? "vol-a" : "vol-b")]() mutable {
      bool good = true;
      std::vector<std::uint8_t> back(kBlock);
      while (!stop && good) {
        const std::uint32_t i = done[c]++;
        const std::vector<std::uint8_t> data(kBlock, static_cast<std::uint8_t>(i * 7 + c));
        const std::uint64_t offset = (c * 128 + i % 128) * kBlock + 100;
        good = client.write_at(offset, data) && client.read_at(offset, back) && back == data;
      }
      sound[c] = good;
    });
  }
  for (int restart = 0; restart < 5; ++restart) {
    const std::uint32_t before = done[0];
    until([&] { return done[0] > before + 20; });
    all.restart();
  }
  const std::uint32_t before = done[1];
  until([&] { return done[1] > before + 20; });
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (const bool good : sound) CHECK(good);
}

TEST_CASE("handover: a target that is away meanwhile is waited for") {
  auto target = std::make_unique<Target>("t");
  const std::uint16_t port = target->server->port();
  Generations all(config_for({target.get()}));
  TestClient client = attach(*all.gateway, "vol-t");
  REQUIRE(echoes(client));
  all.end();
  target->server.reset();
  all.begin();
  const std::vector<std::uint8_t> data(512, 1);
  client.send_request(Command::write, 7, 0, 512, data);
  all.restart();  // and once more, with the request unread
  target->start(port);
  std::uint64_t cookie = 0;
  std::uint32_t error = 1;
  REQUIRE(client.read_reply(cookie, error));
  CHECK(cookie == 7);
  CHECK(error == 0);
}

TEST_CASE("handover: nobody goes on with another disk") {
  const Array array("t");
  config::Config config = make_config({{"127.0.0.1", 1}}, {"t"});
  config.targets[0] = array.configured("t");
  Generations all(config);
  TestClient client = attach(*all.gateway, "vol-t");
  REQUIRE(echoes(client));
  all.end();
  REQUIRE(all.kept.clients.size() == 1);
  SUBCASE("another LUN in the configuration") {
    all.config.exports[0].lun = 2;
  }
  SUBCASE("another export in the configuration") {
    all.config.exports[0].name = "other";
  }
  SUBCASE("another LUN behind the same number") {
    all.kept.clients[0].connection.info.disk.serial += "0";
  }
  SUBCASE("no place for it") {
    all.config.limits.connections = 0;
  }
  all.begin();
  CHECK(at_end(client));
}

TEST_CASE("handover: who does not end the handshake is cut off, and who disconnects is not kept") {
  const Target target("t");
  Generations all(config_for({&target}));
  TestClient early(connect_tcp(all.gateway->listeners().front()->port()));
  REQUIRE(early.greet());
  TestClient leaving = attach(*all.gateway, "vol-t");
  TestClient staying = attach(*all.gateway, "vol-t");
  leaving.send_request(Command::disc, 0, 0, 0);
  CHECK(at_end(leaving));
  all.end();
  CHECK(all.kept.clients.size() == 1);
  CHECK(at_end(early));
  all.begin();
  CHECK(echoes(staying));
}

TEST_CASE("handover: what was written and not flushed is still known") {
  const Target target("t");
  Generations all(config_for({&target}));
  TestClient client = attach(*all.gateway, "vol-t");
  REQUIRE(echoes(client));
  all.end();
  REQUIRE(all.kept.exports.size() == 1);
  CHECK(all.kept.exports[0].cache.cache.unflushed() == 1);
  all.begin();
  CHECK(export_of(*all.gateway).unflushed_writes == 1);
  client.send_request(Command::flush, 9, 0, 0);
  std::uint64_t cookie = 0;
  std::uint32_t error = 1;
  REQUIRE(client.read_reply(cookie, error));
  CHECK(error == 0);
  CHECK(export_of(*all.gateway).unflushed_writes == 0);
  all.end();
  CHECK(all.kept.exports.empty());
}
