// Several shards: clients move to the shard of their export, leave at any point, and are drained.
#include "gateway/shard/shard.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "tests/unit/random.hpp"
#include "tests/unit/shard/memory_export.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Command;
using proto::nbd::Reply;

namespace {

constexpr std::size_t kShards = 3;
constexpr std::size_t kDisk = 4 << 20;

struct Shards {
  Shards() {
    const auto directory = std::make_shared<nbd::ExportDirectory>();
    for (std::size_t i = 0; i < kShards; ++i) directory->push_back({disk_name(i), ""});
    entrance.directory = directory;
    for (std::size_t i = 0; i < kShards; ++i) {
      shard::ShardOptions options;
      options.memory = 16 << 20;
      shards.push_back(std::make_unique<shard::Shard>(static_cast<std::uint32_t>(i), options));
      disks.push_back(std::make_unique<MemoryExport>(*shards[i], disk_name(i), kDisk));
    }
    shard::ExportPlaces places;
    for (std::size_t i = 0; i < kShards; ++i) places.emplace(disk_name(i), shard::ExportPlace{shards[i].get()});
    const auto shared = std::make_shared<const shard::ExportPlaces>(std::move(places));
    for (const auto& shard : shards) shard->set_places(shared);
    for (const auto& shard : shards) shard->start();
  }
  ~Shards() {
    for (const auto& shard : shards) shard->stop();
    for (std::size_t i = 0; i < kShards; ++i) {
      CHECK(disks[i]->in_flight() == 0);
      CHECK(shards[i]->pool().used() == 0);
    }
  }
  TestClient connect(std::size_t shard, net::ConnectionLimit::Ticket ticket = {}) {
    return connect_to(*shards[shard], entrance, std::move(ticket));
  }
  static std::string disk_name(std::size_t i) { return "disk" + std::to_string(i); }

  net::ConnectionLimit limit{10000};
  Entrance entrance;
  std::vector<std::unique_ptr<shard::Shard>> shards;
  std::vector<std::unique_ptr<MemoryExport>> disks;
};

/// One client that leaves at a random point of its life. True if all that it saw was right.
bool live_and_leave(Shards& all, std::mt19937_64& random) {
  const std::size_t entrance = random() % kShards;
  const std::size_t disk = random() % kShards;
  TestClient client = all.connect(entrance, all.limit.take());
  const auto last_stage = random() % 6;
  const auto leave = [&] {
    if (random() % 2 == 0) client.reset();
    return true;
  };
  if (last_stage == 0) return leave();
  if (!client.greet()) return false;
  if (last_stage == 1) return leave();
  client.send_go(Shards::disk_name(disk));
  if (last_stage == 2) return leave();  // it may be on its way between two shards now
  if (client.read_go_reply() != Reply::ack) return false;
  std::vector<std::uint8_t> data(1 + random() % 20000);
  for (auto& byte : data) byte = static_cast<std::uint8_t>(random());
  client.send_request(Command::write, 1, random() % (kDisk - data.size()), static_cast<std::uint32_t>(data.size()),
                      std::span(data).first(random() % data.size()));
  if (last_stage == 3) return leave();  // in the middle of a payload
  return true;
}

}  // namespace

TEST_CASE("clients find their export from any shard") {
  Shards all;
  for (std::size_t entrance = 0; entrance < kShards; ++entrance) {
    for (std::size_t disk = 0; disk < kShards; ++disk) {
      TestClient client = all.connect(entrance);
      REQUIRE(client.go(Shards::disk_name(disk)) == Reply::ack);
      const std::vector<std::uint8_t> data(5000, static_cast<std::uint8_t>(entrance * 16 + disk));
      REQUIRE(client.write_at(100, data));
      CHECK(on_shard(*all.shards[disk], [&] { return all.disks[disk]->disk()[100]; }) == data[0]);
    }
  }
}

TEST_CASE("clients come and leave at any point, on all shards at once, and nothing is left of them") {
  Shards all;
  auto seeds = seeded_random();
  std::atomic<int> good{0};
  constexpr int kThreads = 4;
  constexpr int kLives = 60;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&all, &good, random = std::mt19937_64(seeds())]() mutable {
      for (int i = 0; i < kLives; ++i) good += live_and_leave(all, random) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == kThreads * kLives);
  CHECK(becomes_true([&] { return all.limit.taken() == 0; }));  // every ticket comes back
}

TEST_CASE("drain: requests in flight are answered, later ones get the end, and the shards end") {
  Shards all;
  constexpr int kThreads = 4;
  std::atomic<int> running{0};
  std::atomic<int> torn{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      TestClient client = all.connect(0);
      if (client.go(Shards::disk_name(static_cast<std::size_t>(t) % kShards)) != Reply::ack) {
        ++torn;
        return;
      }
      ++running;
      const std::vector<std::uint8_t> data(8192, static_cast<std::uint8_t>(t));
      const auto offset = static_cast<std::uint64_t>(t) * data.size();
      for (;;) {
        client.send_request(Command::write, 7, offset, static_cast<std::uint32_t>(data.size()), data);
        std::uint64_t cookie = 0;
        std::uint32_t error = 0;
        if (!client.read_reply(cookie, error)) return;  // drained between two requests
        if (error != 0 || cookie != 7) ++torn;
      }
    });
  }
  CHECK(becomes_true([&] { return running == kThreads || torn > 0; }));
  for (const auto& shard : all.shards) shard->drain(10 * proto::kSecond);
  for (auto& thread : threads) thread.join();
  for (const auto& shard : all.shards) shard->join();
  CHECK(torn == 0);
}

TEST_CASE("drain: a client whose request never ends is cut off when the time is up") {
  Shards all;
  TestClient client = all.connect(1);
  REQUIRE(client.go(Shards::disk_name(1)) == Reply::ack);
  on_shard(*all.shards[1], [&] { all.disks[1]->hold = true; });
  client.send_request(Command::read, 1, 0, 4096);
  all.disks[1]->await_in_flight(1);
  for (const auto& shard : all.shards) shard->drain(100 * proto::kMillisecond);
  for (const auto& shard : all.shards) shard->join();
  std::uint8_t byte = 0;
  CHECK(!client.read({&byte, 1}));
}
