// Clients that have gone before all that they had sent was done: the kind of their socket makes no difference, but
// whether they have said goodbye.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

#include "gateway/shard/nbd_client.hpp"
#include "proto/nbd/messages.hpp"
#include "tests/unit/shard/memory_export.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Command;
using proto::nbd::Reply;

namespace {

constexpr std::size_t kDisk = 16 << 20;

enum class Socket { tcp, unix_domain };
enum class End { disc, disc_and_more, close, half_a_write };

struct Scene {
  explicit Scene(std::uint64_t memory = 64 << 20, std::uint32_t in_flight = 256)
      : shard(0, {.memory = memory, .initiator_name = {}}), disk(shard, "disk", kDisk) {
    entrance.options.max_in_flight = in_flight;
    shard.set_places(std::make_shared<const shard::ExportPlaces>(shard::ExportPlaces{{"disk", {&shard}}}));
    shard.start();
  }
  ~Scene() {
    shard.stop();
    CHECK(disk.in_flight() == 0);
    CHECK(shard.pool().used() == 0);
  }
  TestClient attach(Socket kind) {
    TestClient client = kind == Socket::tcp ? connect_to(shard, entrance) : connect_unix_to(shard, entrance);
    REQUIRE(client.go("disk") == Reply::ack);
    return client;
  }
  void hold(bool on) {
    on_shard(shard, [&] { disk.set_hold(on); });
  }
  void await_no_clients() {
    until([&] { return on_shard(shard, [&] { return shard.client_count(); }) == 0; });
  }
  std::vector<std::uint8_t> content(std::size_t at, std::size_t length) {
    return on_shard(shard, [&] {
      const auto from = disk.disk().begin() + static_cast<std::ptrdiff_t>(at);
      return std::vector<std::uint8_t>(from, from + static_cast<std::ptrdiff_t>(length));
    });
  }

  shard::Shard shard;
  MemoryExport disk;
  Entrance entrance{std::make_shared<nbd::ExportDirectory>(nbd::ExportDirectory{{"disk", ""}})};
};

void add(std::vector<std::uint8_t>& wire, Command command, std::uint64_t offset, std::uint32_t length,
         std::span<const std::uint8_t> payload = {}) {
  std::vector<std::uint8_t> header(proto::nbd::kRequestLength);
  const proto::nbd::Request request{.command = command, .cookie = offset, .offset = offset, .length = length};
  request.encode(std::span(header).first<proto::nbd::kRequestLength>());
  wire.insert(wire.end(), header.begin(), header.end());
  wire.insert(wire.end(), payload.begin(), payload.end());
}

std::vector<std::uint8_t> pattern(std::size_t size) {
  std::vector<std::uint8_t> data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::uint8_t>(1 + i * 7 % 251);
  return data;
}

/// The client takes its replies until it goes.
void write_and_go(TestClient& client, std::span<const std::uint8_t> wire) {
  std::jthread taker([&client] {
    std::uint8_t replies[65536];
    while (client.read(replies)) {
    }
  });
  CHECK(client.write(wire));
  ::shutdown(client.fd(), SHUT_RDWR);  // to the other side the same as a close
  taker.join();
  client.close();
}

/// Writes one after the other, READs among them whose replies nobody takes, then how the client ends; all in a piece.
std::vector<std::uint8_t> wire_of(std::span<const std::uint8_t> data, std::uint32_t size, End end) {
  std::vector<std::uint8_t> wire;
  for (std::size_t at = 0; at < data.size(); at += size) {
    add(wire, Command::write, at, size, data.subspan(at, size));
    if (at / size % 8 == 3) add(wire, Command::read, 0, 1 << 20);
  }
  const std::vector<std::uint8_t> other(4096, 0xee);
  switch (end) {
    case End::close:
      break;
    case End::disc:
      add(wire, Command::disc, 0, 0);
      break;
    case End::disc_and_more:
      add(wire, Command::disc, 0, 0);
      add(wire, Command::write, data.size(), 4096, other);
      break;
    case End::half_a_write:
      add(wire, Command::write, data.size(), 4096, std::span(other).first(2048));
      break;
  }
  return wire;
}

}  // namespace

TEST_CASE("all that came before a goodbye is done, though it was not read yet") {
  for (const Socket kind : {Socket::tcp, Socket::unix_domain}) {
    for (const std::uint32_t in_flight : {1U, 2U, 5U, 256U}) {
      CAPTURE(static_cast<int>(kind));
      CAPTURE(in_flight);
      Scene scene(64 << 20, in_flight);
      TestClient client = scene.attach(kind);
      scene.hold(true);  // so that it is gone before anything is done
      const auto data = pattern(40 * 512);
      REQUIRE(client.write(wire_of(data, 512, End::disc)));
      client.close();
      scene.hold(false);
      scene.await_no_clients();
      CHECK(scene.content(0, data.size()) == data);
      CHECK(scene.content(data.size(), 4096) == std::vector<std::uint8_t>(4096));
    }
  }
}

TEST_CASE("the same when memory is short, and of more than the memory holds") {
  for (const std::uint32_t size : {4096U, 65536U, 1U << 20}) {
    CAPTURE(size);
    Scene scene(3 << 20, 64);
    TestClient client = scene.attach(Socket::unix_domain);
    const auto data = pattern(8 << 20);
    write_and_go(client, wire_of(data, size, End::disc));
    scene.await_no_clients();
    CHECK((scene.content(0, data.size()) == data));
    CHECK(scene.content(data.size(), 4096) == std::vector<std::uint8_t>(4096));
  }
}

TEST_CASE("who was lost, and had asked for more than could be begun: its old WRITE lands on nothing newer") {
  for (const Socket kind : {Socket::tcp, Socket::unix_domain}) {
    for (const End end : {End::close, End::half_a_write, End::disc_and_more}) {
      CAPTURE(static_cast<int>(kind));
      CAPTURE(static_cast<int>(end));
      Scene scene(64 << 20, 5);
      TestClient old = scene.attach(kind);
      scene.hold(true);
      const auto data = pattern(40 * 512);
      REQUIRE(old.write(wire_of(data, 512, end)));
      scene.disk.await_in_flight(5);
      old.close();
      until([&] {
        return on_shard(scene.shard, [&] { return scene.disk.in_flight(); }) == 4;
      });  // its READ is for nobody
      TestClient again = scene.attach(kind);
      const std::vector<std::uint8_t> newer(40 * 512, 0xee);
      std::vector<std::uint8_t> wire;
      add(wire, Command::write, 0, static_cast<std::uint32_t>(newer.size()), newer);
      REQUIRE(again.write(wire));
      scene.hold(false);
      std::uint8_t reply[16];
      REQUIRE(again.read(reply));
      again.close();
      scene.await_no_clients();
      CHECK((scene.content(4 * 512, 36 * 512) == std::vector<std::uint8_t>(36 * 512, 0xee)));
      CHECK(scene.content(data.size(), 4096) == std::vector<std::uint8_t>(4096));  // nor what was behind a goodbye
    }
  }
}

TEST_CASE("a client that waits for memory when it goes: its turn comes") {
  Scene scene(3 << 20);
  TestClient holder = scene.attach(Socket::tcp);
  scene.hold(true);
  holder.send_request(Command::read, 1, 0, 2 << 20);
  scene.disk.await_in_flight(1);
  TestClient client = scene.attach(Socket::unix_domain);
  const auto data = pattern(2 << 20);
  std::jthread sender([&] {
    client.write(wire_of(data, 2 << 20, End::disc));
    client.close();
  });
  holder.close();
  scene.hold(false);
  scene.await_no_clients();
  CHECK((scene.content(0, data.size()) == data));
}

TEST_CASE("READs of a client that has gone are not done") {
  for (const Socket kind : {Socket::tcp, Socket::unix_domain}) {
    Scene scene;
    TestClient client = scene.attach(kind);
    scene.hold(true);
    for (std::uint64_t i = 0; i < 8; ++i) client.send_request(Command::read, i, i * 4096, 4096);
    scene.disk.await_in_flight(8);
    client.close();
    scene.await_no_clients();
    CHECK(on_shard(scene.shard, [&] { return scene.disk.in_flight(); }) == 0);
  }
}
