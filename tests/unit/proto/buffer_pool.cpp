#include "proto/bytes/buffer_pool.hpp"

#include <array>
#include <cstring>
#include <random>
#include <set>

#include <doctest/doctest.h>

#include "proto/bytes/iovecs.hpp"

using nbdgw::proto::BufferPool;

TEST_CASE("buffer pool: lengths add up, blocks do not overlap, everything comes back") {
  std::vector<std::byte> arena(8 * BufferPool::kLargeBlock);
  BufferPool pool(arena);
  CHECK(pool.capacity() == arena.size());

  std::mt19937 random(20261123);
  std::vector<std::vector<iovec>> held;
  for (int round = 0; round < 20'000; ++round) {
    if (random() % 2 == 0 || held.empty()) {
      const std::size_t length = 1 + random() % (random() % 4 == 0 ? 200'000 : 20'000);
      std::array<iovec, 64> list;
      const std::size_t n = pool.allocate(length, list);
      if (n == 0) continue;
      CHECK(n <= BufferPool::blocks_for(length));
      CHECK(nbdgw::proto::total_length(std::span(list).first(n)) == length);
      held.emplace_back(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(n));
    } else {
      std::swap(held[random() % held.size()], held.back());
      pool.release(held.back());
      held.pop_back();
    }
    std::set<void*> bases;
    std::size_t count = 0;
    for (const auto& list : held)
      for (const iovec& entry : list) {
        bases.insert(entry.iov_base);
        ++count;
      }
    REQUIRE(bases.size() == count);
  }
  for (const auto& list : held) pool.release(list);
  CHECK(pool.used() == 0);
  std::array<iovec, 64> all;
  CHECK(pool.allocate(pool.capacity(), all) == 8);
}

TEST_CASE("buffer pool: all or nothing") {
  std::vector<std::byte> arena(2 * BufferPool::kLargeBlock);
  BufferPool pool(arena);
  std::array<iovec, 64> list;
  CHECK(pool.allocate(3 * BufferPool::kLargeBlock, list) == 0);
  CHECK(pool.used() == 0);
  const std::size_t one = pool.allocate(100, list);
  CHECK(one == 1);
  std::array<iovec, 64> other;
  CHECK(pool.allocate(2 * BufferPool::kLargeBlock, other) == 0);
  CHECK(pool.used() == BufferPool::kSmallBlock);
  pool.release(std::span(list).first(one));
  CHECK(pool.allocate(2 * BufferPool::kLargeBlock, other) == 2);
}
