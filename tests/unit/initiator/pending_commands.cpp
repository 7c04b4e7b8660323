#include "gateway/initiator/pending_commands.hpp"

#include <deque>
#include <map>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using namespace nbdgw::initiator;

namespace {

/// Commands of a test: the byte 0 of the CDB is a number.
struct Commands {
  ScsiCommand& make(std::uint64_t lun) {
    ScsiCommand& command = all.emplace_back();
    command.lun = lun;
    return command;
  }
  void push(std::uint64_t lun, int count = 1) {
    for (int i = 0; i < count; ++i) pending.push(make(lun));
  }
  /// LUNs of all that is sent, in that order.
  std::vector<std::uint64_t> send() {
    std::vector<std::uint64_t> luns;
    while (pending.next([](std::uint64_t) { return true; }) != nullptr) luns.push_back(pending.take().lun);
    return luns;
  }
  std::deque<ScsiCommand> all;
  PendingCommands pending;
};

constexpr auto kAny = [](std::uint64_t) { return true; };

}  // namespace

TEST_CASE("pending commands: of each LUN in their order, and the LUNs in turn") {
  Commands commands;
  CHECK(commands.pending.empty());
  commands.push(5, 4);
  commands.push(2, 2);
  commands.push(9);
  CHECK(commands.send() == std::vector<std::uint64_t>{5, 2, 9, 5, 2, 5, 5});
  CHECK(commands.pending.empty());
  CHECK(commands.pending.next(kAny) == nullptr);
  // A LUN that comes later waits for one of each.
  commands.push(5, 3);
  commands.push(2, 3);
  CHECK(commands.pending.take().lun == 5);
  commands.push(7, 2);
  CHECK(commands.send() == std::vector<std::uint64_t>{2, 5, 7, 2, 5, 7, 2});
}

TEST_CASE("pending commands: a LUN that may not send holds up nobody, and keeps its commands") {
  Commands commands;
  commands.push(1, 2);
  commands.push(2, 2);
  const auto not_1 = [](std::uint64_t lun) { return lun != 1; };
  std::vector<std::uint64_t> sent;
  while (commands.pending.next(not_1) != nullptr) sent.push_back(commands.pending.take().lun);
  CHECK(sent == std::vector<std::uint64_t>{2, 2});
  CHECK(commands.pending.next(not_1) == nullptr);
  CHECK_FALSE(commands.pending.empty());
  commands.push(2);
  CHECK(commands.pending.next(not_1)->lun == 2);
  CHECK(commands.send().size() == 3);
}

TEST_CASE("pending commands: those of one LUN are taken back") {
  for (const std::uint64_t taken : {1U, 2U, 3U}) {
    Commands commands;
    for (const std::uint64_t lun : {1U, 2U, 3U}) commands.push(lun, 2);
    CHECK(commands.pending.take_of(4) == nullptr);
    int count = 0;
    while (ScsiCommand* const command = commands.pending.take_of(taken)) {
      CHECK(command->lun == taken);
      ++count;
    }
    CHECK(count == 2);
    commands.push(taken);
    CHECK(commands.send().size() == 5);
    CHECK(commands.pending.take_any() == nullptr);
  }
}

TEST_CASE("pending commands: at random, against a simple model") {
  auto random = nbdgw::test::seeded_random();
  Commands commands;
  std::map<std::uint64_t, std::deque<ScsiCommand*>> model;
  std::size_t count = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::uint64_t lun = random() % 6;
    const auto expect = [&](ScsiCommand* command) {
      REQUIRE(command != nullptr);
      auto& queue = model[command->lun];
      REQUIRE_FALSE(queue.empty());
      REQUIRE(queue.front() == command);
      queue.pop_front();
      --count;
    };
    switch (random() % 5) {
      case 0:
      case 1: {
        ScsiCommand& command = commands.make(lun);
        commands.pending.push(command);
        model[lun].push_back(&command);
        ++count;
        break;
      }
      case 2:
        if (ScsiCommand* const command = commands.pending.take_of(lun)) {
          expect(command);
        } else {
          REQUIRE(model[lun].empty());
        }
        break;
      default: {
        const std::uint64_t blocked = random() % 7;
        ScsiCommand* const next = commands.pending.next([&](std::uint64_t each) { return each != blocked; });
        if (next == nullptr) {
          REQUIRE(count == model[blocked].size());
        } else {
          REQUIRE(next->lun != blocked);
          REQUIRE(&commands.pending.take() == next);
          expect(next);
        }
      }
    }
    REQUIRE(commands.pending.empty() == (count == 0));
  }
}
