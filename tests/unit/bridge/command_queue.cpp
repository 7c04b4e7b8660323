#include "gateway/bridge/command_queue.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <concepts>
#include <deque>
#include <utility>
#include <vector>

#include "tests/unit/proofs.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::bridge;
using initiator::Proof;
using initiator::ProofMaker;

namespace {

// Nothing is sent again without a proof, and nobody but the initiator makes one.
template <typename Queue, typename... More>
concept SendsAgain = requires(Queue& queue, DiskCommand& command, More... more) {
  queue.again(command, more...);
};
static_assert(SendsAgain<CommandQueue, const Proof&> && SendsAgain<CommandQueue, const Proof&, proto::Micros>);
static_assert(!SendsAgain<CommandQueue> && !SendsAgain<CommandQueue, proto::Micros>);
static_assert(!SendsAgain<CommandQueue, Proof::Kind> && !SendsAgain<CommandQueue, Proof::Kind, proto::Micros>);
static_assert(!std::default_initializable<Proof> && !std::constructible_from<Proof, Proof::Kind>);

const Proof kProof = ProofMaker::make(Proof::Kind::answered);

struct Rig {
  explicit Rig(std::uint32_t depth, std::size_t count = 12) : commands(count), queue(depth) {}

  void push(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) queue.push_back(commands[pushed++]);
  }
  /// Numbers of all that may go now, in that order.
  std::vector<int> lend() {
    std::vector<int> numbers;
    while (DiskCommand* const command = queue.lend()) numbers.push_back(static_cast<int>(command - commands.data()));
    return numbers;
  }
  void back(std::size_t first, std::size_t count) {
    for (std::size_t i = first; i < first + count; ++i) queue.returned(commands[i]);
  }
  void good(std::uint32_t count, proto::Micros now) {
    for (std::uint32_t i = 0; i < count; ++i) queue.count_good(now);
  }
  /// Lowered to `to`: so many are lent when another one is turned away.
  void fill_up(std::uint32_t to, proto::Micros now) {
    push(to + 1);
    REQUIRE(lend().size() == to + 1);
    back(to, 1);
    queue.lower_depth(now);
    back(0, to);
    CHECK(queue.depth() == to);
  }

  std::vector<DiskCommand> commands;
  std::size_t pushed = 0;
  CommandQueue queue;  // goes first: the commands are linked into it
};

using Numbers = std::vector<int>;

}  // namespace

TEST_CASE("command queue: first in, first out, and no more at once than the depth") {
  Rig rig(3);
  CHECK(rig.queue.idle());
  CHECK_FALSE(rig.queue.could_lend());
  CHECK(rig.lend().empty());
  rig.push(8);
  CHECK(rig.queue.could_lend());
  CHECK(rig.lend() == Numbers{0, 1, 2});
  CHECK(rig.queue.lent() == 3);
  CHECK(rig.queue.ready() == 5);
  CHECK_FALSE(rig.queue.could_lend());
  rig.back(1, 1);  // in whatever order they end
  CHECK(rig.lend() == Numbers{3});
  rig.back(0, 1);
  rig.back(2, 2);
  CHECK(rig.lend() == Numbers{4, 5, 6});
  rig.back(4, 3);
  CHECK_FALSE(rig.queue.idle());
  CHECK(rig.lend() == Numbers{7});
  CHECK_FALSE(rig.queue.idle());  // the last one is still out
  rig.back(7, 1);
  CHECK(rig.queue.idle());
}

TEST_CASE("command queue: the same command once more goes in front, at once or when its time has come") {
  Rig rig(2);
  rig.push(5);
  rig.lend();
  rig.back(0, 2);
  CHECK(rig.queue.next_due() == proto::kNever);
  rig.queue.again(rig.commands[1], kProof);
  rig.queue.again(rig.commands[0], kProof, 1'000);
  CHECK(rig.queue.next_due() == 1'000);
  CHECK(rig.queue.delayed() == 1);
  rig.queue.release_due(999);
  CHECK(rig.queue.delayed() == 1);
  CHECK(rig.lend() == Numbers{1, 2});
  rig.queue.release_due(1'000);
  CHECK(rig.queue.delayed() == 0);
  CHECK(rig.queue.next_due() == proto::kNever);
  CHECK(rig.lend().empty());  // its time has come, but there is no room
  rig.back(1, 2);
  CHECK(rig.lend() == Numbers{0, 3});
  rig.back(0, 1);
  rig.queue.push_front(rig.commands[0]);
  CHECK(rig.lend() == Numbers{0});
}

TEST_CASE("command queue: of those whose time has come the one that was due first goes first") {
  Rig rig(8);
  rig.push(1);
  const proto::Micros due[] = {0, 30, 20, 20, 10, 40, 20};
  for (std::size_t i = 1; i < 7; ++i) rig.queue.again(rig.commands[i], kProof, due[i]);
  CHECK(rig.queue.next_due() == 10);
  rig.queue.release_due(30);
  CHECK(rig.queue.next_due() == 40);
  CHECK(rig.lend() == Numbers{4, 2, 3, 6, 1, 0});
}

TEST_CASE("command queue: taken whatever the depth, those that wait for their time last") {
  Rig rig(1);
  rig.push(3);
  rig.queue.again(rig.commands[5], kProof, 20);
  rig.queue.again(rig.commands[4], kProof, 10);
  CHECK(rig.lend() == Numbers{0});
  for (const std::size_t number : {1U, 2U, 4U, 5U}) {
    DiskCommand* const command = rig.queue.take();
    REQUIRE(command == &rig.commands[number]);
    CHECK(command->place == DiskCommand::Place::none);
  }
  CHECK(rig.queue.take() == nullptr);
  CHECK(rig.queue.lent() == 1);  // what is with the session is not touched
}

TEST_CASE("command queue: TASK SET FULL lowers the depth to what the target held, and to no less than one") {
  for (const std::uint32_t held : {0U, 1U, 5U, 7U}) {
    Rig rig(8, 30);
    rig.push(20);
    rig.lend();
    rig.back(held, 8 - held);
    rig.queue.lower_depth(0);
    CHECK(rig.queue.depth() == std::max(held, 1U));
    CHECK(rig.queue.could_lend() == (held == 0));
    CHECK(rig.lend().size() == std::size_t{held == 0});
    rig.queue.lower_depth(0);  // the next one that is turned away does not raise it
    CHECK(rig.queue.depth() == std::max(held, 1U));
  }
}

TEST_CASE("command queue: a lowered depth goes up by one for as many good ends, after a rest") {
  constexpr proto::Micros kFull = 7'000;
  Rig rig(6, 30);
  rig.fill_up(3, kFull);
  rig.good(100, kFull + kQueueDepthRest - 1);
  CHECK(rig.queue.depth() == 3);
  rig.good(2, kFull + kQueueDepthRest);
  CHECK(rig.queue.depth() == 3);
  rig.good(1, kFull + kQueueDepthRest);
  CHECK(rig.queue.depth() == 4);
  rig.good(3, kFull + kQueueDepthRest);
  rig.queue.lower_depth(2 * kFull + kQueueDepthRest);  // nothing is lent: down to one, and from the start again
  CHECK(rig.queue.depth() == 1);
  rig.good(100, kFull + 2 * kQueueDepthRest);
  CHECK(rig.queue.depth() == 1);
  rig.good(1 + 2 + 3 + 4, 2 * kFull + 2 * kQueueDepthRest);
  CHECK(rig.queue.depth() == 5);
  rig.good(1000, 9 * kQueueDepthRest);
  CHECK(rig.queue.depth() == 6);  // as configured, and no further
}

TEST_CASE("command queue: another depth is configured") {
  Rig rig(6, 30);
  rig.push(20);
  rig.lend();
  rig.queue.configure_depth(2);  // what is out comes back in its time
  CHECK(rig.queue.depth() == 2);
  CHECK(rig.queue.lent() == 6);
  rig.back(0, 4);
  CHECK(rig.lend().empty());
  rig.back(4, 1);
  CHECK(rig.lend() == Numbers{6});
  rig.queue.configure_depth(9);
  CHECK(rig.lend().size() == 7);

  Rig full(8, 30);
  full.fill_up(4, 0);
  full.queue.configure_depth(100);  // what the target has told still holds
  CHECK(full.queue.depth() == 4);
  full.queue.configure_depth(3);
  CHECK(full.queue.depth() == 3);
}

TEST_CASE("command queue: carefully, it is one at a time, then twice as many with each good end") {
  Rig rig(10, 100);
  rig.push(60);
  rig.queue.begin_carefully();
  std::size_t first = 0;
  for (const std::size_t expected : {1U, 2U, 4U, 8U, 10U, 10U}) {
    REQUIRE(rig.lend().size() == expected);
    rig.back(first, expected);
    first += expected;
    rig.queue.count_good(0);
  }
  rig.queue.begin_carefully();  // it happens again
  CHECK(rig.lend().size() == 1);
  CHECK(rig.queue.depth() == 10);  // which has nothing to do with it
}

TEST_CASE("command queue: what may cost the session goes alone, and behind the others") {
  Rig rig(10, 12);
  rig.push(4);
  CHECK(rig.lend() == Numbers{0, 1, 2, 3});
  rig.commands[1].alone = true;
  for (const int i : {0, 1, 2, 3}) {
    rig.queue.returned(rig.commands[i]);
    rig.queue.again(rig.commands[i], kProof);
  }
  rig.push(2);
  CHECK(rig.lend() == Numbers{3, 2, 0});
  rig.back(2, 2);
  CHECK(rig.lend().empty());
  rig.back(0, 1);
  CHECK(rig.lend() == Numbers{1});
  CHECK_FALSE(rig.queue.could_lend());
  rig.back(1, 1);
  CHECK(rig.lend() == Numbers{4, 5});
}

TEST_CASE("command queue: flushes that follow each other do not keep what goes alone waiting") {
  Rig rig(10, 12);
  rig.push(1);
  CHECK(rig.lend() == Numbers{0});
  rig.commands[1].alone = true;
  rig.push(2);
  rig.queue.push_front(rig.commands[10]);
  CHECK(rig.lend().empty());
  rig.back(0, 1);
  CHECK(rig.lend() == Numbers{1});
  rig.queue.push_front(rig.commands[11]);
  rig.back(1, 1);
  CHECK(rig.lend() == Numbers{11, 10, 2});
}

TEST_CASE("command queue: what the session holds keeps no other one back") {
  Rig rig(2, 12);
  rig.push(6);
  CHECK(rig.lend() == Numbers{0, 1});
  rig.queue.set_aside(rig.commands[0]);
  rig.queue.set_aside(rig.commands[0]);
  CHECK(rig.lend() == Numbers{2});
  CHECK(rig.queue.lent() == 3);
  CHECK(rig.queue.under_way() == 2);
  rig.back(1, 1);
  rig.queue.begin_carefully();
  CHECK(rig.lend().empty());
  rig.back(2, 1);
  CHECK(rig.lend() == Numbers{3});
  rig.back(3, 1);
  CHECK_FALSE(rig.queue.idle());
  rig.back(0, 1);
  CHECK(rig.queue.lent() == 0);
}

TEST_CASE("command queue: at random, against a simple model") {
  auto random = test::seeded_random();
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  Rig rig(7, 40);
  std::deque<DiskCommand*> ready;
  std::vector<std::pair<proto::Micros, DiskCommand*>> delayed;  // in order
  std::size_t lent = 0;
  std::size_t aside = 0;  // of these
  proto::Micros now = 0;
  const auto forget = [&](DiskCommand* command) {
    std::erase(ready, command);
    std::erase_if(delayed, [command](const auto& each) { return each.second == command; });
  };
  for (int step = 0; step < 50'000; ++step) {
    DiskCommand& command = rig.commands[below(rig.commands.size())];
    switch (command.place) {
      case DiskCommand::Place::none:
        if (const std::size_t what = below(5); what < 2) {
          rig.queue.push_back(command);
          ready.push_back(&command);
        } else if (what < 4) {
          what == 2 ? rig.queue.push_front(command) : rig.queue.again(command, kProof);
          ready.push_front(&command);
        } else {
          const proto::Micros due = now + static_cast<proto::Micros>(below(20));
          const auto later = [](proto::Micros at, const auto& each) { return at < each.first; };
          delayed.emplace(std::upper_bound(delayed.begin(), delayed.end(), due, later), due, &command);
          rig.queue.again(command, kProof, due);
        }
        break;
      case DiskCommand::Place::lent:
        if (below(4) == 0) {
          aside += std::size_t{!command.aside};
          rig.queue.set_aside(command);
        } else {
          aside -= std::size_t{command.aside};
          rig.queue.returned(command);
          --lent;
        }
        break;
      default:
        if (below(20) > 0) break;
        rig.queue.remove(command);
        forget(&command);
    }
    if (below(2) == 0) {
      DiskCommand* const expected = lent - aside < 7 && !ready.empty() ? ready.front() : nullptr;
      REQUIRE(rig.queue.lend() == expected);
      lent += std::size_t{expected != nullptr};
      forget(expected);
    }
    if (below(50) == 0) {
      DiskCommand* const expected = !ready.empty()    ? ready.front()
                                    : delayed.empty() ? nullptr
                                                      : delayed.front().second;
      REQUIRE(rig.queue.take() == expected);
      forget(expected);
    }
    if (below(4) == 0) {
      rig.queue.release_due(++now);
      const auto end =
          std::find_if(delayed.begin(), delayed.end(), [&](const auto& each) { return each.first > now; });
      for (auto each = end; each != delayed.begin();) ready.push_front((--each)->second);
      delayed.erase(delayed.begin(), end);
    }
    REQUIRE(rig.queue.ready() == ready.size());
    REQUIRE(rig.queue.delayed() == delayed.size());
    REQUIRE(rig.queue.lent() == lent);
    REQUIRE(rig.queue.under_way() == lent - aside);
    REQUIRE(rig.queue.could_lend() == (lent - aside < 7 && !ready.empty()));
    REQUIRE(rig.queue.next_due() == (delayed.empty() ? proto::kNever : delayed.front().first));
    REQUIRE(rig.queue.idle() == (ready.empty() && delayed.empty() && lent == 0));
  }
}
