// Hosts that have died, and such that live and only take nothing.
#include "gateway/net/peer_watch.hpp"

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>

#include "gateway/net/clock.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "tests/unit/shard/memory_export.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Command;
using proto::nbd::Reply;
using std::chrono::milliseconds;

namespace {

constexpr std::uint32_t kDisk = 16 << 20;
constexpr proto::Micros kSilence = 600 * proto::kMillisecond;

struct Scene {
  Scene()
      : shard(0, {.memory = 64 << 20, .initiator_name = {}, .peer_silence = kSilence}), disk(shard, "disk", kDisk) {
    shard.set_places(std::make_shared<const shard::ExportPlaces>(shard::ExportPlaces{{"disk", {&shard}}}));
    shard.start();
  }
  ~Scene() { shard.stop(); }
  TestClient attach() {
    TestClient client = connect_to(shard, entrance);
    REQUIRE(client.go("disk") == Reply::ack);
    return client;
  }
  std::size_t clients() {
    return on_shard(shard, [&] { return shard.client_count(); });
  }
  std::uint64_t dead() {
    return on_shard(shard, [&] { return shard.closed()[static_cast<std::size_t>(nbd::CloseReason::peer_dead)]; });
  }
  void hold(bool on) {
    on_shard(shard, [&] { disk.set_hold(on); });
  }
  bool ends_within(milliseconds limit) {
    return becomes_true([&] { return clients() == 0; }, limit);
  }

  shard::Shard shard;
  MemoryExport disk;
  Entrance entrance{std::make_shared<nbd::ExportDirectory>(nbd::ExportDirectory{{"disk", ""}})};
};

/// Its host is dead from here on: every segment that reaches the socket is dropped before TCP sees it.
void kill_host(const TestClient& client) {
  sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{.len = 1, .filter = &drop};
  REQUIRE(::setsockopt(client.fd(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
}

}  // namespace

TEST_CASE("a host that dies with a reply on its way to it is noticed, and what it wrote is done") {
  Scene scene;
  TestClient client = scene.attach();
  scene.hold(true);
  client.send_request(Command::read, 1, 0, 4096);
  client.send_request(Command::write, 2, 8192, 512, std::vector<std::uint8_t>(512, 0x5a));
  scene.disk.await_in_flight(2);
  kill_host(client);
  scene.hold(false);
  CHECK(scene.ends_within(milliseconds(10000)));
  CHECK(scene.dead() == 1);
  CHECK(on_shard(scene.shard, [&] { return scene.disk.disk()[8192]; }) == 0x5a);
}

TEST_CASE("a host that takes nothing lives as long as it answers, and is noticed when it dies then") {
  Scene scene;
  TestClient stopped = scene.attach();
  for (std::uint64_t i = 0; i < 4; ++i) stopped.send_request(Command::read, i, 0, 8 << 20);
  // TCP asks for its window in intervals that grow to several times the silence that would be taken for death.
  CHECK_FALSE(scene.ends_within(milliseconds(6000)));
  CHECK(scene.dead() == 0);
  std::vector<std::uint8_t> data(8 << 20);
  for (int i = 0; i < 2; ++i) {
    std::uint64_t cookie = 0;
    std::uint32_t error = 1;
    REQUIRE(stopped.read_reply(cookie, error));
    CHECK(stopped.read(data));
  }
  kill_host(stopped);
  CHECK(scene.ends_within(milliseconds(20000)));
  CHECK(scene.dead() == 1);
}

TEST_CASE("a host that dies while it takes nothing") {
  Scene scene;
  TestClient stopped = scene.attach();
  stopped.send_request(Command::read, 1, 0, 8 << 20);
  int unread = 0;
  for (int before = -1; unread == 0 || unread != before; ::ioctl(stopped.fd(), FIONREAD, &unread)) {
    before = unread;
    std::this_thread::sleep_for(milliseconds(50));
  }
  kill_host(stopped);
  CHECK(scene.ends_within(milliseconds(20000)));
  CHECK(scene.dead() == 1);
}

TEST_CASE("hosts that are idle, or answer after a while, are left alone") {
  Scene scene;
  TestClient idle = scene.attach();
  TestClient slow = scene.attach();
  scene.hold(true);
  slow.send_request(Command::read, 1, 0, 4096);
  scene.disk.await_in_flight(1);
  CHECK_FALSE(scene.ends_within(milliseconds(3000)));
  scene.hold(false);
  std::vector<std::uint8_t> data(4096);
  std::uint64_t cookie = 0;
  std::uint32_t error = 1;
  CHECK(slow.read_reply(cookie, error));
  CHECK(slow.read(data));
  CHECK(idle.read_at(0, data));
  CHECK(scene.clients() == 2);
}

TEST_CASE("nobody looks at a client to which nothing is on its way, nor at one without TCP") {
  Scene scene;
  TestClient client = scene.attach();
  TestClient local = connect_unix_to(scene.shard, scene.entrance);
  REQUIRE(local.go("disk") == Reply::ack);
  const auto looks = [&] {
    return on_shard(scene.shard, [&] {
      std::size_t count = 0;
      // The watch over what a client owes looks, too, but much later.
      const proto::Micros soon = net::steady_now() + 10 * proto::kSecond;
      for (const auto& each : scene.shard.clients()) count += each->next_deadline() < soon;
      return count;
    });
  };
  CHECK(becomes_true([&] { return looks() == 0; }));  // once it has seen that all of the handshake has arrived
  std::vector<std::uint8_t> data(4096);
  REQUIRE(client.read_at(0, data));
  REQUIRE(local.read_at(0, data));
  CHECK(looks() == 1);
}
