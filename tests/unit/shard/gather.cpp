// Answers of several threads: all of them, in order, once, and no wait for who cannot answer any more.
#include "gateway/shard/gather.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gateway/shard/shard.hpp"

using namespace nbdgw;
using shard::Gather;

namespace {

using Answers = Gather<int>::Answers;

/// Where the answers are put, with how often that was done.
struct Heard {
  Gather<int>::Done done() {
    return [this](Answers all) {
      answers = std::move(all);
      ++times;
    };
  }
  Answers answers;
  int times = 0;
};

std::unique_ptr<shard::Shard> make_shard(std::uint32_t index) {
  return std::make_unique<shard::Shard>(index, shard::ShardOptions{});
}

/// Asks each shard for its index.
std::future<Answers> ask(const std::vector<std::unique_ptr<shard::Shard>>& shards) {
  auto heard = std::make_shared<std::promise<Answers>>();
  std::future<Answers> future = heard->get_future();
  Gather<int> gather(shards.size(), [heard](Answers answers) { heard->set_value(std::move(answers)); });
  for (const auto& shard : shards) {
    shard->post([&shard = *shard, part = gather.part()](proto::Micros) mutable {
      part.answer(static_cast<int>(shard.index()));
    });
  }
  return future;
}

}  // namespace

TEST_CASE("gather: answers come in the order of the parts, whoever was first, when the last is there") {
  Heard heard;
  std::optional<Gather<int>> gather(std::in_place, 3, heard.done());
  auto first = gather->part(), second = gather->part(), third = gather->part();
  gather.reset();
  third.answer(3);
  first.answer(1);
  CHECK(heard.times == 0);
  second.answer(2);
  CHECK(heard.times == 1);
  CHECK(heard.answers == Answers{1, 2, 3});
  CHECK(shard::all_answered(heard.answers));
}

TEST_CASE("gather: who lets go of a part is not waited for") {
  Heard heard;
  {
    Gather<int> gather(3, heard.done());
    gather.part().answer(1);
    gather.part();
    auto third = gather.part();
    auto copy = third;
    copy.answer(3);
  }
  CHECK(heard.times == 1);
  CHECK(heard.answers == Answers{1, std::nullopt, 3});
  CHECK_FALSE(shard::all_answered(heard.answers));
}

TEST_CASE("gather: of nobody all answers are there, as soon as nobody more can be asked") {
  Heard heard;
  {
    Gather<int> gather(0, heard.done());
    CHECK(heard.times == 0);
  }
  CHECK(heard.times == 1);
  CHECK(heard.answers.empty());
  CHECK(shard::all_answered(heard.answers));
}

TEST_CASE("gather: shards answer in their order; one that ends before it answers, or has ended, holds up nobody") {
  std::vector<std::unique_ptr<shard::Shard>> shards;
  for (std::uint32_t i = 0; i < 3; ++i) shards.push_back(make_shard(i));
  for (const auto& shard : shards) shard->start();
  for (int round = 0; round < 100; ++round) CHECK(ask(shards).get() == Answers{0, 1, 2});

  // The shard is told to end first, and finds the question behind that.
  std::promise<void> asked;
  shards[1]->post([may_end = asked.get_future().share()](proto::Micros) { may_end.wait(); });
  auto end = std::async(std::launch::async, [&] { shards[1]->stop(); });
  std::future<Answers> during = ask(shards);
  asked.set_value();
  end.wait();
  const Answers got = during.get();
  CHECK(got[0] == 0);
  CHECK(got[2] == 2);
  CHECK((!got[1] || got[1] == 1));

  CHECK(ask(shards).get() == Answers{0, std::nullopt, 2});
  shards[0]->stop();
  shards[2]->stop();
  CHECK(ask(shards).get() == Answers{std::nullopt, std::nullopt, std::nullopt});
}

TEST_CASE("gather: a shard that has never run takes with it what it was asked") {
  std::vector<std::unique_ptr<shard::Shard>> shards;
  shards.push_back(make_shard(0));
  std::future<Answers> answers = ask(shards);
  CHECK(answers.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
  shards.clear();
  CHECK(answers.get() == Answers{std::nullopt});
}

TEST_CASE("gather: an answer may come when nobody waits for it any more") {
  auto heard = std::make_shared<std::promise<Answers>>();
  const std::weak_ptr<std::promise<Answers>> kept = heard;
  std::optional<Gather<int>> gather(std::in_place, 2, [heard](Answers answers) { heard->set_value(answers); });
  auto first = gather->part();
  std::optional second = gather->part();
  gather.reset();
  heard->get_future();  // the wait is over
  heard.reset();
  first.answer(1);
  CHECK_FALSE(kept.expired());
  second.reset();
  CHECK(kept.expired());
}
