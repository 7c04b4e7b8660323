#include "gateway/bridge/shares.hpp"

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/bridge/limits.hpp"
#include "tests/unit/bridge/bench.hpp"
#include "tests/unit/random.hpp"

using nbdgw::bridge::memory_for;
using nbdgw::bridge::Need;
using nbdgw::bridge::payload_for;
using nbdgw::bridge::Share;
using nbdgw::bridge::ShareListener;
using nbdgw::bridge::Shares;
using nbdgw::bridge::Source;
using nbdgw::nbd::Stake;
using nbdgw::proto::BufferPool;
using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

struct Listener final : ShareListener {
  void on_divided() noexcept override { ++told; }
  int told = 0;
};

/// A shard's memory and a few exports that share it. Only numbers: nobody touches the memory.
struct World {
  explicit World(std::uint64_t memory, std::uint32_t clients, std::size_t number, std::uint64_t largest = 4 * kMiB)
      : arena(memory), pool(arena), shares(pool, clients, largest) {
    for (std::size_t i = 0; i < number; ++i) add();
  }
  void add() { exports.push_back(std::make_unique<Share>(shares, listener, 100, 200)); }
  Share& operator[](std::size_t i) { return *exports[i]; }

  std::vector<std::byte> arena;
  BufferPool pool;
  Shares shares;
  Listener listener;
  std::vector<std::unique_ptr<Share>> exports;
};

/// What a client does: asks, and takes what it may.
Source take(Share& share, Stake& stake, std::uint64_t memory, bool held = false) {
  const Need need{.memory = memory, .requests = 1, .segments = 1};
  const Source source = share.may_take(stake, need, held);
  if (source == Source::nowhere) return source;
  share.take(stake, source, need);
  stake.leave();
  return source;
}
void give_back(Share& share, Stake& stake, Source source, std::uint64_t memory) {
  share.give_back(&stake, source, {.memory = memory, .requests = 1, .segments = 1});
}

}  // namespace

TEST_CASE("shares: a lone client gets all there is above the reserve") {
  World world(16 * kMiB, 64, 1);
  const std::uint64_t reserve = 64 * world.shares.reserved_bytes();
  CHECK(reserve <= 2 * kMiB);
  Stake greedy;
  std::uint64_t got = 0;
  while (take(world[0], greedy, 64 * 1024) == Source::shared) got += 64 * 1024;
  CHECK(got == 100 * 64 * 1024);  // all of its request slots
  World wide(16 * kMiB, 64, 1);
  got = 0;
  while (take(wide[0], greedy, kMiB) == Source::shared) got += kMiB;
  CHECK(got == 16 * kMiB - reserve);
}

TEST_CASE("shares: one small request of each connection always has room") {
  World world(16 * kMiB, 64, 1);
  Stake greedy;
  while (take(world[0], greedy, kMiB) == Source::shared) {
  }
  std::deque<Stake> others(63);
  for (Stake& other : others) {
    REQUIRE(take(world[0], other, 4096) == Source::reserved);
    CHECK(take(world[0], other, 4096) == Source::nowhere);  // a second one waits
  }
  CHECK(take(world[0], others[0], 64 * 1024) == Source::nowhere);
  for (Stake& other : others) give_back(world[0], other, Source::reserved, 4096);
  for (Stake& other : others) CHECK(take(world[0], other, world.shares.reserved_bytes()) == Source::reserved);
  // A connection that is gone leaves its request behind: the place is not lost.
  for (int i = 0; i < 1000; ++i) {
    Stake passing;
    REQUIRE(take(world[0], passing, 4096) == Source::reserved);
    world[0].give_back(nullptr, Source::reserved, {.memory = 4096, .requests = 1, .segments = 1});
  }
}

TEST_CASE("shares: request slots are set aside, too") {
  World world(16 * kMiB, 64, 1);
  Stake greedy;
  int taken = 0;
  while (take(world[0], greedy, 4096) == Source::shared) ++taken;
  CHECK(taken == 100);
  CHECK(greedy.reserved_request);  // its own one, as well
  Stake other;
  CHECK(take(world[0], other, 4096) == Source::reserved);
}

TEST_CASE("shares: with more connections than small blocks to set aside, the first ones have theirs") {
  World world(kMiB, 1'000'000, 1);
  CHECK(world.shares.reserved_clients() == kMiB / 8 / BufferPool::kSmallBlock);
  CHECK(world.shares.reserved_bytes() == BufferPool::kSmallBlock);
  World none(kMiB, 0, 1);
  CHECK(none.shares.reserved_clients() == 0);
  Stake stake;
  CHECK(take(none[0], stake, kMiB) == Source::shared);
  CHECK(take(none[0], stake, 4096) == Source::nowhere);
}

TEST_CASE("shares: nobody takes the floor of another export") {
  World world(16 * kMiB, 0, 4);
  CHECK(world.shares.floor() == 2 * kMiB);
  CHECK(world.shares.most() == 10 * kMiB);
  Stake greedy;
  std::uint64_t got = 0;
  while (take(world[0], greedy, kMiB / 2) == Source::shared) got += kMiB / 2;
  CHECK(got == 10 * kMiB);
  for (std::size_t i = 1; i < 4; ++i) {
    Stake other;
    for (int j = 0; j < 4; ++j) REQUIRE(take(world[i], other, kMiB / 2) == Source::shared);
    CHECK(take(world[i], other, kMiB / 2) == Source::nowhere);
  }
}

TEST_CASE("shares: the floors follow the number of exports, and so does the longest request") {
  World world(16 * kMiB, 0, 1);
  CHECK(world.shares.floor() == 4 * kMiB);  // the largest request
  CHECK(world.shares.most() == 16 * kMiB);
  Stake stake;
  for (int i = 0; i < 14; ++i) REQUIRE(take(world[0], stake, kMiB) == Source::shared);
  world.add();
  world.add();
  CHECK(world.listener.told == 1 + 2);  // those that are there
  CHECK(world.shares.most() == 16 * kMiB - 2 * world.shares.floor());
  // What was taken before counts, and keeps the others from more than their floors.
  CHECK(take(world[1], stake, kMiB) == Source::shared);
  CHECK(take(world[1], stake, 3 * kMiB) == Source::nowhere);
  stake.leave();
  world.exports.pop_back();
  for (int i = 0; i < 14; ++i) give_back(world[0], stake, Source::shared, kMiB);
  CHECK(take(world[1], stake, 3 * kMiB) == Source::shared);
  CHECK(payload_for(memory_for(32 << 20)) == 32 << 20);
  CHECK(payload_for(~std::uint64_t{0}) == 32 << 20);
  CHECK(payload_for(0) == 64 * 1024);
}

TEST_CASE("shares: whoever waits is not passed, within its export") {
  World world(16 * kMiB, 0, 1);
  Stake busy, large, late;
  for (int i = 0; i < 14; ++i) REQUIRE(take(world[0], busy, kMiB) == Source::shared);
  CHECK(take(world[0], large, 4 * kMiB) == Source::nowhere);
  CHECK_FALSE(world[0].others_wait(large));
  CHECK(world[0].others_wait(busy));
  CHECK(take(world[0], late, kMiB) == Source::nowhere);
  CHECK(take(world[0], busy, kMiB) == Source::nowhere);
  give_back(world[0], busy, Source::shared, kMiB);
  CHECK(take(world[0], late, kMiB) == Source::nowhere);  // there would be room
  give_back(world[0], busy, Source::shared, kMiB);
  CHECK(take(world[0], large, 4 * kMiB) == Source::shared);
  CHECK(take(world[0], busy, kMiB) == Source::nowhere);  // behind `late`
  give_back(world[0], busy, Source::shared, kMiB);
  CHECK(take(world[0], busy, kMiB) == Source::nowhere);
  CHECK(take(world[0], late, kMiB) == Source::shared);
  late.leave();
  // Whoever leaves makes way.
  {
    Stake gone;
    CHECK(take(world[0], gone, 4 * kMiB) == Source::nowhere);
  }
  CHECK(take(world[0], busy, kMiB) == Source::nowhere);
  busy.leave();
  CHECK_FALSE(world[0].others_wait(large));
}

TEST_CASE("shares: whoever waits for common memory is not passed by other exports, beyond their floors") {
  World world(16 * kMiB, 0, 2);
  Stake busy, large, other;
  REQUIRE(world.shares.floor() == 4 * kMiB);
  while (take(world[0], busy, kMiB) == Source::shared) {
  }
  busy.leave();
  for (int i = 0; i < 3; ++i) REQUIRE(take(world[1], other, kMiB) == Source::shared);
  CHECK(take(world[1], large, 3 * kMiB) == Source::nowhere);
  give_back(world[0], busy, Source::shared, kMiB);
  CHECK(take(world[0], busy, kMiB) == Source::nowhere);  // `large` has the first call on it
  CHECK(world[0].others_wait(other));
  give_back(world[0], busy, Source::shared, kMiB);
  CHECK(take(world[1], large, 3 * kMiB) == Source::shared);
  busy.leave();
  // The other way round: the floor of an export is its own, whoever waits for common memory.
  CHECK(take(world[0], busy, 6 * kMiB) == Source::nowhere);
  for (int i = 0; i < 3; ++i) give_back(world[1], other, Source::shared, kMiB);
  give_back(world[1], large, Source::shared, 3 * kMiB);
  CHECK(take(world[1], other, 2 * kMiB) == Source::shared);
}

TEST_CASE("shares: what is held for a target that is away is within the floor of its export") {
  World world(16 * kMiB, 0, 2);
  Stake stuck, other;
  for (int i = 0; i < 4; ++i) REQUIRE(take(world[0], stuck, kMiB, true) == Source::shared);
  CHECK(take(world[0], stuck, kMiB, true) == Source::nowhere);
  for (int i = 0; i < 12; ++i) REQUIRE(take(world[1], other, kMiB) == Source::shared);
  // It is back: first come, first served.
  give_back(world[1], other, Source::shared, kMiB);
  CHECK(take(world[0], stuck, kMiB, false) == Source::shared);
}

TEST_CASE(
    "shares: who does not wait for common memory any more, as its target has gone, makes way, and that is seen") {
  World world(16 * kMiB, 0, 2);
  Stake busy, first, second, other;
  while (take(world[0], busy, kMiB) == Source::shared) {
  }
  busy.leave();
  for (int i = 0; i < 3; ++i) REQUIRE(take(world[1], other, kMiB) == Source::shared);
  CHECK(take(world[1], first, 3 * kMiB) == Source::nowhere);
  give_back(world[0], busy, Source::shared, kMiB);
  CHECK(take(world[0], second, kMiB) == Source::nowhere);
  const std::uint64_t before = world.shares.made_way();
  CHECK(take(world[0], second, kMiB) == Source::nowhere);
  CHECK(world.shares.made_way() == before);
  CHECK(take(world[1], first, 3 * kMiB, true) == Source::nowhere);
  CHECK(world.shares.made_way() == before + 1);
  CHECK(take(world[0], second, kMiB) == Source::shared);
}

TEST_CASE("shares: at random, the numbers add up, nobody is passed, and everybody is served in the end") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 60; ++round) {
    struct Held {
      std::size_t place;
      std::size_t client;
      Source source;
      std::uint64_t memory;
      bool gone;
    };
    struct Client {
      Stake stake;
      std::size_t place = 0;
      std::uint64_t wants = 0;
      std::uint64_t waited = 0;
    };
    const std::size_t exports = 1 + random() % 5;
    const auto reserve = static_cast<std::uint32_t>(random() % 3 * 8);
    World world(16 * kMiB, reserve, exports, 2 * kMiB);
    std::deque<Client> clients(1 + random() % 24);
    for (Client& client : clients) client.place = random() % exports;
    std::vector<Held> held;
    std::uint64_t taken = 0;
    std::uint64_t most_waited = 0;
    for (int step = 0; step < 4000; ++step) {
      // All who wait are asked in their order, as a shard does; then somebody wants more, or gives something back.
      for (std::size_t i = 0; i < clients.size(); ++i) {
        Client& client = clients[i];
        if (client.wants == 0 && random() % 8 == 0) {
          client.wants = BufferPool::cost(1 + random() % (random() % 4 == 0 ? world.shares.most() / 2 : 65536));
          client.waited = 0;
        }
        if (client.wants == 0) continue;
        const Source source = take(world[client.place], client.stake, client.wants);
        most_waited = std::max(most_waited, ++client.waited);
        if (source == Source::nowhere) continue;
        held.push_back({client.place, i, source, client.wants, false});
        if (source == Source::shared) taken += client.wants;
        client.wants = 0;
      }
      std::uint64_t reserved = 0;
      for (const Held& each : held) reserved += each.source == Source::reserved ? 1 : 0;
      REQUIRE(taken <= world.pool.capacity() - reserve * world.shares.reserved_bytes());
      REQUIRE(reserved <= world.shares.reserved_clients());
      if (held.empty()) continue;
      const std::size_t i = random() % held.size();
      const Held each = held[i];
      held[i] = held.back();
      held.pop_back();
      if (each.source == Source::shared) taken -= each.memory;
      give_back(world[each.place], clients[each.client].stake, each.source, each.memory);
    }
    CHECK(most_waited < 2500);  // of 4000, with one request given back in each
    for (const Held& each : held) {
      give_back(world[each.place], clients[each.client].stake, each.source, each.memory);
    }
    for (std::size_t i = 0; i < exports; ++i) CHECK(world[i].memory() == 0);
  }
}

TEST_CASE("shares: a read in pieces takes its floor and no more, and all of it comes") {
  // Two exports: half of an even share is 2 MiB, a read of 4 MiB needs twice that.
  Bench bench({.blocks = 16384}, {}, 8 * kMiB);
  Listener listener;
  Share beside(bench.shares, listener, 10, 10);
  bench.connect();
  REQUIRE(bench.shares.floor() == 2 * kMiB);
  for (std::size_t i = 0; i < bench.lun.disk.size(); ++i) bench.lun.disk[i] = static_cast<std::uint8_t>(i * 7 / 512);
  bench.stake.in_pieces = true;
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{100}, std::uint64_t{kMiB - 1}}) {
    const std::uint32_t length = 4 * kMiB - 3;
    Reply* const reply = bench.read(offset, length);
    std::size_t most = 0;
    while (!reply->finished) {
      bench.deliver();
      most = std::max(most, bench.pool.used());
      REQUIRE(!bench.lun.waiting.empty());
      bench.lun.complete(bench.lun.waiting.size() - 1, bench.now);
      bench.deliver();
    }
    CHECK(reply->error == Error::none);
    CHECK(most <= 2 * kMiB);
    CHECK(std::equal(reply->data.begin(), reply->data.end(), bench.lun.disk.begin() + static_cast<long>(offset)));
    bench.check_idle();
  }
  // In one piece it takes what is common, too.
  bench.stake.in_pieces = false;
  CHECK(bench.read(0, 4 * kMiB)->request->segments != nullptr);
  CHECK(bench.pool.used() == 4 * kMiB);
  bench.run();
  bench.check_idle();
}

TEST_CASE("shares: a read in pieces that fails, or whose client goes, gives everything back") {
  for (const bool goes : {false, true}) {
    Bench bench({.blocks = 16384}, {}, 8 * kMiB);
    Listener listener;
    Share beside(bench.shares, listener, 10, 10);
    bench.connect();
    bench.stake.in_pieces = true;
    Reply* const reply = bench.read(0, 4 * kMiB);
    REQUIRE(bench.lun.waiting.size() == 2);
    bench.lun.complete(0, bench.now);
    bench.deliver();
    bench.deliver();
    REQUIRE(bench.lun.waiting.size() == 2);
    if (goes) {
      bench.abandon(*reply);
    } else {
      bench.lun.refuse(0, make_sense(nbdgw::proto::scsi::SenseKey::medium_error, 0x11), bench.now);
    }
    bench.run();
    CHECK(reply->finished == !goes);
    bench.check_idle();
  }
}

TEST_CASE("shares: a small request gets through while another client has all the room") {
  Bench bench({.blocks = 65536}, {.requests = 8, .segments = 80}, 8 * kMiB, nullptr, 16);
  bench.connect();
  Stake other;
  for (const bool memory : {true, false}) {
    std::vector<Reply*> held;
    while (Reply* const reply = bench.admit(Command::read, 0, memory ? kMiB : 512)) held.push_back(reply);
    CHECK(bench.target->others_wait(other));
    CHECK_FALSE(bench.target->others_wait(bench.stake));
    Reply* const small = bench.admit(other, Command::read, 4096, 4096);
    REQUIRE(small != nullptr);
    CHECK(bench.admit(other, Command::read, 4096, 4096) == nullptr);
    other.leave();
    bench.target->start(*small->request, bench.now);
    bench.run();
    CHECK(small->finished);
    const std::vector<std::uint8_t> data(4096, 5);
    Reply* const write = bench.admit(other, Command::write, 8192, 4096);
    REQUIRE(write != nullptr);
    bench.received(*write, *bench.fill(*write, data));
    bench.run();
    CHECK(write->error == Error::none);
    Reply* const flush = bench.admit(other, Command::flush, 0, 0);
    REQUIRE(flush != nullptr);
    bench.target->start(*flush->request, bench.now);
    bench.run();
    CHECK(flush->error == Error::none);
    for (Reply* const each : held) bench.target->start(*each->request, bench.now);
    bench.run();
    bench.stake.leave();
    CHECK_FALSE(other.reserved_request);
    CHECK_FALSE(other.reserved_memory);
    bench.check_idle();
  }
}
