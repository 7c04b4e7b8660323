#include "gateway/bridge/fence.hpp"

#include <deque>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using nbdgw::bridge::Fence;

namespace {

struct Item {
  Fence::Entry entry;
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  int arrival = 0;
};

bool overlap(const Item& a, const Item& b) {
  return a.first < b.end && b.first < a.end;
}

}  // namespace

TEST_CASE("fence: what does not overlap runs at once, neighbours included") {
  Fence fence;
  Fence::Entry a, b, c;
  CHECK(fence.enter(a, 10, 20));
  CHECK(fence.enter(b, 20, 30));
  CHECK(fence.enter(c, 0, 10));
  const auto nobody = [](Fence::Entry&) { FAIL("nobody waits"); };
  fence.leave(b, nobody);
  fence.leave(a, nobody);
  fence.leave(c, nobody);
  CHECK(fence.empty());
}

TEST_CASE("fence: overlapping entries run in the order of their arrival") {
  Fence fence;
  Fence::Entry a, b, c, d;
  std::vector<Fence::Entry*> granted;
  const auto note = [&](Fence::Entry& entry) { granted.push_back(&entry); };
  CHECK(fence.enter(a, 0, 10));
  CHECK_FALSE(fence.enter(b, 5, 25));
  // Overlaps nothing that runs, but b, which came first.
  CHECK_FALSE(fence.enter(c, 20, 30));
  CHECK(fence.enter(d, 40, 50));
  CHECK(fence.waiting() == 2);
  fence.leave(a, note);
  CHECK(granted == std::vector{&b});
  CHECK(c.state() == Fence::State::waiting);
  fence.leave(b, note);
  CHECK(granted == std::vector{&b, &c});
  fence.leave(c, note);
  fence.leave(d, note);
  CHECK(fence.empty());
}

TEST_CASE("fence: a waiter that gives up lets those behind it pass") {
  Fence fence;
  Fence::Entry a, b, c;
  std::vector<Fence::Entry*> granted;
  const auto note = [&](Fence::Entry& entry) { granted.push_back(&entry); };
  fence.enter(a, 0, 10);
  fence.enter(b, 5, 25);
  fence.enter(c, 20, 30);
  fence.leave(b, note);
  CHECK(granted == std::vector{&c});
  CHECK(b.state() == Fence::State::outside);
  fence.leave(a, note);
  fence.leave(c, note);
  CHECK(granted.size() == 1);
  CHECK(fence.empty());
}

TEST_CASE("fence: the callee may take others out and enter new ones") {
  Fence fence;
  Fence::Entry a, b, c, d;
  fence.enter(a, 0, 10);
  fence.enter(b, 0, 5);
  fence.enter(c, 5, 10);
  int calls = 0;
  fence.leave(a, [&](Fence::Entry& entry) {
    ++calls;
    if (&entry != &b) return;
    fence.leave(b, [](Fence::Entry&) { FAIL("nobody waits for b"); });
    CHECK_FALSE(fence.enter(d, 0, 10));  // c is granted, though it was not told yet
  });
  CHECK(calls == 2);
  CHECK(c.state() == Fence::State::granted);
  fence.leave(c, [&](Fence::Entry& entry) { CHECK(&entry == &d); });
  fence.leave(d, [](Fence::Entry&) {});
  CHECK(fence.empty());
}

TEST_CASE("fence: against a model that looks at everybody") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 200; ++round) {
    Fence fence;
    std::deque<Item> items;  // stays where it is
    std::vector<Item*> inside;
    const std::uint64_t space = 4 + random() % 60;
    const auto check = [&] {
      for (const Item* item : inside) {
        bool blocked = false;
        for (const Item* other : inside) {
          blocked = blocked || (other->arrival < item->arrival && overlap(*item, *other));
        }
        REQUIRE(item->entry.state() == (blocked ? Fence::State::waiting : Fence::State::granted));
      }
    };
    for (int step = 0; step < 200; ++step) {
      if (inside.size() < 2 || (inside.size() < 30 && random() % 2 == 0)) {
        Item& item = items.emplace_back();
        item.first = random() % space;
        item.end = item.first + 1 + random() % (1 + random() % 20);
        item.arrival = step;
        const bool granted = fence.enter(item.entry, item.first, item.end);
        inside.push_back(&item);
        CHECK(granted == (item.entry.state() == Fence::State::granted));
      } else {
        std::swap(inside[random() % inside.size()], inside.back());
        Item* const item = inside.back();
        inside.pop_back();
        int last = -1;
        fence.leave(item->entry, [&](Fence::Entry& entry) {
          for (const Item* other : inside) {
            if (&other->entry != &entry) continue;
            CHECK(other->arrival > last);
            last = other->arrival;
          }
        });
      }
      check();
    }
    while (!inside.empty()) {
      fence.leave(inside.back()->entry, [](Fence::Entry&) {});
      inside.pop_back();
      check();
    }
    CHECK(fence.empty());
  }
}
