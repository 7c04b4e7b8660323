// The whole gateway over real sockets, in front of the embedded target.
#include "gateway/control/gateway.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "gateway/shard/discover.hpp"
#include "tests/unit/control/test_gateway.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Reply;

TEST_CASE("two targets on two workers: clients reach either, and a drain ends everything in good order") {
  const Target a("a");
  const Target b("b");
  control::Gateway gateway(config_for({&a, &b}));
  gateway.start();
  CHECK(gateway.worker_count() == 2);
  for (int round = 0; round < 2; ++round) {  // clients are accepted on the workers in turn
    for (const char* name : {"vol-a", "vol-b"}) {
      TestClient client = attach(gateway, name);
      CHECK(client.size() == kDisk);
      const std::vector<std::uint8_t> data(300000, static_cast<std::uint8_t>(name[4] + round));
      REQUIRE(client.write_at(12345, data));
      std::vector<std::uint8_t> back(data.size());
      REQUIRE(client.read_at(12345, back));
      CHECK(back == data);
    }
  }
  gateway.drain();
  gateway.wait();
  CHECK(gateway.client_count() == 0);
}

TEST_CASE("drain under load: what was acknowledged is on the target") {
  const Target target("t");
  constexpr int kClients = 4;
  constexpr std::size_t kBlock = 8192;
  std::array<std::atomic<std::uint32_t>, kClients> acknowledged{};
  {
    control::Gateway gateway(config_for({&target}));
    gateway.start();
    std::vector<std::thread> threads;
    for (std::size_t c = 0; c < kClients; ++c) {
      threads.emplace_back([&, c] {
        TestClient client = attach(gateway, "vol-t");
        for (std::uint32_t i = 0; i < 256; i = (i + 1) % 256) {
          const std::vector<std::uint8_t> data(kBlock, static_cast<std::uint8_t>(i + 1));
          if (!client.write_at((c * 256 + i) * kBlock, data)) return;
          ++acknowledged[c];
        }
      });
    }
    CHECK(becomes_true(
        [&] { return std::ranges::all_of(acknowledged, [](const auto& count) { return count >= 20; }); }));
    gateway.drain();
    for (auto& thread : threads) thread.join();
    gateway.wait();
  }
  control::Gateway again(config_for({&target}));
  again.start();
  TestClient client = attach(again, "vol-t");
  for (std::size_t c = 0; c < kClients; ++c) {
    for (std::uint32_t i = 0; i < std::min<std::uint32_t>(acknowledged[c], 256); ++i) {
      std::vector<std::uint8_t> back(kBlock);
      REQUIRE(client.read_at((c * 256 + i) * kBlock, back));
      CHECK(back == std::vector<std::uint8_t>(kBlock, static_cast<std::uint8_t>(i + 1)));
    }
  }
}

TEST_CASE("a target that goes and comes back: the client's requests wait, and none fails") {
  Target target("t");
  const std::uint16_t port = target.server->port();
  control::Gateway gateway(config_for({&target}));
  gateway.start();
  TestClient client = attach(gateway, "vol-t");
  const std::vector<std::uint8_t> data(100000, 0x5a);
  for (int round = 0; round < 2; ++round) {
    REQUIRE(client.write_at(static_cast<std::uint64_t>(round) * data.size(), data));
    target.server->stop();
    client.send_request(proto::nbd::Command::read, 1, static_cast<std::uint64_t>(round) * data.size(), 100000);
    target.start(port);
    std::uint64_t cookie = 0;
    std::uint32_t error = 1;
    REQUIRE(client.read_reply(cookie, error));
    CHECK(error == 0);
    std::vector<std::uint8_t> back(data.size());
    REQUIRE(client.read(back));
    CHECK(back == data);
  }
}

TEST_CASE("a target that is down: the gateway starts, and a client is told why in the end") {
  net::UniqueFd unused_port;  // bound, but nobody listens: a connect is refused
  unused_port = net::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::uint16_t port = bind_loopback(unused_port.get());
  config::Config config = make_config({{"127.0.0.1", port}}, {"gone"});
  config.limits.handshake_timeout = 300 * proto::kMillisecond;
  control::Gateway gateway(std::move(config));
  gateway.start();
  TestClient client(connect_tcp(gateway.listeners().front()->port()));
  CHECK(client.go("vol-gone") == Reply::err_unknown);
  INFO(client.error_text());
  CHECK(client.error_text().find("Connection refused") != std::string::npos);
  gateway.drain();
  gateway.wait();
}

TEST_CASE("a port in use stops the start with a readable error, and nothing runs") {
  const Target target("t");
  control::Gateway first(config_for({&target}));
  first.start();
  config::Config config = config_for({&target});
  config.listen.nbd.front().port = first.listeners().front()->port();
  control::Gateway second(std::move(config));
  CHECK_THROWS_AS(second.start(), net::ListenError);
}

TEST_CASE("discovery tells the targets of a portal, by address and by name, and why it cannot") {
  const Target target("t");
  initiator::SessionSettings settings;
  settings.initiator_name = "iqn.2026-11.io.nbdgw:test";
  for (const char* host : {"127.0.0.1", "localhost"}) {
    settings.portals = {{host, target.server->port()}};
    const shard::DiscoverResult result = shard::discover(settings);
    CHECK(result.failure.empty());
    REQUIRE(result.targets.size() == 1);
    CHECK(result.targets[0].name == target.iqn);
  }
  const net::UniqueFd silent(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  settings.portals = {{"127.0.0.1", bind_loopback(silent.get())}};
  CHECK(shard::discover(settings).failure.find("Connection refused") != std::string::npos);
  REQUIRE(::listen(silent.get(), 1) == 0);
  settings.login_timeout = 200 * proto::kMillisecond;
  CHECK(shard::discover(settings).failure.find("in time") != std::string::npos);
}
