#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "gateway/shard/nbd_client.hpp"
#include "tests/unit/shard/memory_export.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Command;
using proto::nbd::Reply;

namespace {

/// A station that a test gives work to.
struct Worker final : shard::Station {
  void deliver(proto::Micros) override {
    ++turns;
    work = false;
  }
  void transmit(proto::Micros) override {}
  bool wants_turn() const noexcept override { return work; }
  proto::Micros next_deadline() const noexcept override { return deadline; }
  void on_deadline(proto::Micros) override { deadline = proto::kNever; }
  void begin_drain(proto::Micros) override {}
  bool idle() const noexcept override { return true; }
  std::uint32_t load() const noexcept override { return 0; }

  bool work = false;
  int turns = 0;
  proto::Micros deadline = proto::kNever;
};

struct Scene {
  Scene() : shard(0, {.memory = 8 << 20, .initiator_name = {}}), disk(shard, "disk", 1 << 20) {
    shard.add_station(worker);
    shard.set_places(std::make_shared<const shard::ExportPlaces>(shard::ExportPlaces{{"disk", {&shard}}}));
    shard.start();
    // Its first turn, in which everybody is served, is over.
    on_shard(shard, [] {});
    on_shard(shard, [] {});
  }
  ~Scene() { shard.stop(); }
  std::uint64_t turns_in(std::chrono::milliseconds time) {
    const std::uint64_t before = on_shard(shard, [&] { return shard.turns(); });
    std::this_thread::sleep_for(time);
    return on_shard(shard, [&] { return shard.turns(); }) - before;
  }

  shard::Shard shard;
  Worker worker;
  MemoryExport disk;
  Entrance entrance{std::make_shared<nbd::ExportDirectory>(nbd::ExportDirectory{{"disk", ""}})};
};

/// Idle shards sleep; how often the machine wakes them for something else is not known.
constexpr std::uint64_t kFew = 30;
constexpr std::chrono::milliseconds kWhile{200};

}  // namespace

TEST_CASE("turns: a station that has rung gets its turn, once") {
  Scene scene;
  const int before = on_shard(scene.shard, [&] { return scene.worker.turns; });
  CHECK(on_shard(scene.shard, [&] { return scene.worker.turns; }) == before);
  on_shard(scene.shard, [&] {
    scene.worker.work = true;
    scene.worker.bell().ring();
    scene.worker.bell().ring();
  });
  CHECK(on_shard(scene.shard, [&] { return scene.worker.turns; }) == before + 1);
  on_shard(scene.shard, [&] {
    scene.worker.deadline = 1;  // long ago
    scene.worker.bell().ring();
  });
  CHECK(on_shard(scene.shard, [&] { return scene.worker.turns; }) >= before + 2);
  until([&] { return on_shard(scene.shard, [&] { return scene.worker.deadline; }) == proto::kNever; });
}

TEST_CASE("turns: where nobody has anything to do the shard sleeps") {
  Scene scene;
  TestClient client = connect_to(scene.shard, scene.entrance);
  REQUIRE(client.go("disk") == Reply::ack);
  std::vector<std::uint8_t> data(4096);
  REQUIRE(client.read_at(0, data));
  CHECK(scene.turns_in(kWhile) < kFew);
}

#ifdef NBDGW_CHECKED

// What ends the program runs in one of its own.
TEST_CASE("turns victim: work without the bell" * doctest::skip()) {
  Scene scene;
  on_shard(scene.shard, [&] { scene.worker.work = true; });
  on_shard(scene.shard, [] {});
}

TEST_CASE("turns victim: an earlier deadline without the bell" * doctest::skip()) {
  Scene scene;
  on_shard(scene.shard, [&] { scene.worker.deadline = 1'000'000'000'000'000; });
  on_shard(scene.shard, [] {});
}

TEST_CASE("turns victim: a reply without the bell" * doctest::skip()) {
  Scene scene;
  TestClient client = connect_to(scene.shard, scene.entrance);
  REQUIRE(client.go("disk") == Reply::ack);
  on_shard(scene.shard, [&] { scene.disk.hold = true; });
  client.send_request(Command::read, 1, 0, 4096);
  until([&] { return on_shard(scene.shard, [&] { return scene.disk.in_flight(); }) == 1; });
  on_shard(scene.shard, [&] {
    // As if its engine had forgotten to ring.
    auto& engine = const_cast<nbd::Connection&>(scene.shard.clients()[0]->engine());
    engine.set_bell(nullptr);
    scene.disk.set_hold(false);
  });
  on_shard(scene.shard, [] {});
}

TEST_CASE("turns victim: an export that comes without a word" * doctest::skip()) {
  Scene scene;
  on_shard(scene.shard, [&] { scene.disk.online = false; });
  TestClient client = connect_to(scene.shard, scene.entrance);
  REQUIRE(client.greet());
  client.send_go("disk");
  until([&] {
    return on_shard(scene.shard,
                    [&] { return scene.shard.client_count() == 1 && scene.shard.clients()[0]->waits_for_export(); });
  });
  on_shard(scene.shard, [&] { scene.disk.online = true; });
  on_shard(scene.shard, [] {});
}

TEST_CASE("turns: a shard that would sleep over work ends the program") {
  std::array<char, 4096> self{};
  REQUIRE(::readlink("/proc/self/exe", self.data(), self.size() - 1) > 0);
  using Case = std::pair<std::string, std::string>;
  for (const auto& [victim, words] : {Case{"work without*", "no station sleeps that has work"},
                                      Case{"an earlier deadline*", "no station oversleeps its deadline"},
                                      Case{"a reply without*", "no client sleeps that has work"},
                                      Case{"an export that*", "no client sleeps that has work"}}) {
    CAPTURE(victim);
    const std::string command =
        "'" + std::string(self.data()) + "' --no-skip -tc='turns victim: " + victim + "' 2>&1";
    FILE* const pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string output;
    for (std::array<char, 4096> part; std::fgets(part.data(), part.size(), pipe) != nullptr;) output += part.data();
    CHECK(::pclose(pipe) != 0);
    INFO(output);
    CHECK(output.find(words) != std::string::npos);
  }
}

#endif
