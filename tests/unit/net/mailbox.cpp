#include "gateway/net/mailbox.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <thread>
#include <vector>

using namespace nbdgw;

TEST_CASE("work posted by several threads runs once each, in the order of each thread") {
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  net::Poller poller;
  net::Mailbox mailbox(poller);
  std::vector<int> next(kThreads, 0);
  bool in_order = true;
  int done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        mailbox.post([&, t, i](proto::Micros) {
          in_order = in_order && next[static_cast<std::size_t>(t)]++ == i;
          ++done;
        });
      }
    });
  }
  while (done < kThreads * kPosts) {
    const auto ready = poller.wait(10 * proto::kSecond);
    REQUIRE(!ready.empty());
    for (const epoll_event& event : ready) static_cast<net::Watcher*>(event.data.ptr)->on_ready(event.events, 0);
  }
  for (auto& thread : threads) thread.join();
  CHECK(in_order);
  CHECK(poller.wait(0).size() <= 1);  // at most one ring that came too late to matter
}

TEST_CASE("work that never ran is destroyed with the mailbox") {
  auto token = std::make_shared<int>(1);
  {
    net::Poller poller;
    net::Mailbox mailbox(poller);
    mailbox.post([token](proto::Micros) {});
    CHECK(token.use_count() == 2);
  }
  CHECK(token.use_count() == 1);
}
