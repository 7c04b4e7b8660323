#include "gateway/net/poller.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <map>
#include <set>
#include <thread>

#include "gateway/net/clock.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using net::Poller;
using net::UniqueFd;

namespace {

struct Watcher final : net::Watcher {
  void on_ready(std::uint32_t, proto::Micros) override {}
};

/// An eventfd: always writable, and readable while it is up.
struct Flag {
  Flag() : fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { REQUIRE(fd); }
  void raise() {
    const std::uint64_t one = 1;
    REQUIRE(::write(fd.get(), &one, sizeof one) == sizeof one);
    up = true;
  }
  void lower() {
    std::uint64_t value = 0;
    CHECK((::read(fd.get(), &value, sizeof value) == sizeof value) == up);
    up = false;
  }
  UniqueFd fd;
  Watcher watcher;
  bool up = false;
};

using Ready = std::map<const net::Watcher*, std::uint32_t>;

/// What is ready now, each once.
Ready ready_now(Poller& poller) {
  Ready ready;
  for (const epoll_event& event : poller.wait(0))
    REQUIRE(ready.emplace(static_cast<const net::Watcher*>(event.data.ptr), event.events).second);
  return ready;
}

}  // namespace

TEST_CASE("poller: what is ready is told again and again, until it is not, or not asked for") {
  Poller poller;
  Flag flag;
  Watcher other;
  CHECK(ready_now(poller).empty());
  REQUIRE(poller.add(flag.fd.get(), EPOLLIN, flag.watcher));
  CHECK(ready_now(poller).empty());
  flag.raise();
  for (int i = 0; i < 3; ++i) CHECK(ready_now(poller) == Ready{{&flag.watcher, EPOLLIN}});
  poller.modify(flag.fd.get(), EPOLLIN | EPOLLOUT, flag.watcher);
  CHECK(ready_now(poller) == Ready{{&flag.watcher, EPOLLIN | EPOLLOUT}});
  poller.modify(flag.fd.get(), 0, flag.watcher);
  CHECK(ready_now(poller).empty());
  poller.modify(flag.fd.get(), EPOLLIN, other);  // it was ready all the while
  CHECK(ready_now(poller) == Ready{{&other, EPOLLIN}});
  flag.lower();
  CHECK(ready_now(poller).empty());
  flag.raise();
  poller.remove(flag.fd.get());
  CHECK(ready_now(poller).empty());
  REQUIRE(poller.add(flag.fd.get(), EPOLLIN, flag.watcher));
  CHECK(ready_now(poller) == Ready{{&flag.watcher, EPOLLIN}});
}

TEST_CASE("poller: a peer that hangs up is told even to whom asks for nothing") {
  Poller poller;
  Watcher watcher;
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  REQUIRE(poller.add(ours.get(), 0, watcher));
  REQUIRE(::write(theirs.get(), "x", 1) == 1);
  CHECK(ready_now(poller).empty());
  theirs.reset();
  CHECK(ready_now(poller) == Ready{{&watcher, EPOLLHUP}});
}

TEST_CASE("poller: what the kernel refuses is told, and changes nothing") {
  Poller poller;
  Flag flag;
  flag.raise();
  Watcher other;
  REQUIRE(poller.add(flag.fd.get(), EPOLLIN, flag.watcher));
  CHECK_FALSE(poller.add(flag.fd.get(), EPOLLOUT, other));
  CHECK(errno == EEXIST);
  CHECK_FALSE(poller.add(-1, EPOLLIN, other));
  CHECK(errno == EBADF);
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  CHECK_FALSE(poller.add(file.get(), EPOLLIN, other));  // nothing that anybody could wait for
  CHECK(errno == EPERM);
  CHECK(ready_now(poller) == Ready{{&flag.watcher, EPOLLIN}});
}

TEST_CASE("poller: events taken in stay as they are, whatever is changed while they are served") {
  Poller poller;
  std::deque<Flag> flags(5);
  for (Flag& flag : flags) {
    REQUIRE(poller.add(flag.fd.get(), EPOLLIN, flag.watcher));
    flag.raise();
  }
  const auto events = poller.wait(0);
  REQUIRE(events.size() == 5);
  poller.remove(flags[1].fd.get());
  poller.modify(flags[2].fd.get(), 0, flags[2].watcher);
  poller.modify(flags[3].fd.get(), EPOLLIN, flags[0].watcher);
  flags[4].lower();
  std::set<const void*> told;
  for (const epoll_event& event : events) told.insert(event.data.ptr);
  for (const Flag& flag : flags) CHECK(told.contains(&flag.watcher));  // so none of them may be gone yet
  const auto next = poller.wait(0);
  REQUIRE(next.size() == 2);
  for (const epoll_event& event : next) CHECK(event.data.ptr == &flags[0].watcher);
}

TEST_CASE("poller: a descriptor's number that is used again has nothing of the old one's") {
  Poller poller;
  Flag old, idle;
  REQUIRE(poller.add(old.fd.get(), EPOLLIN, old.watcher));
  old.raise();
  const auto events = poller.wait(0);
  REQUIRE(events.size() == 1);
  const int number = old.fd.get();
  poller.remove(number);
  // The same number is another one from now on.
  REQUIRE(::dup3(idle.fd.get(), number, O_CLOEXEC) == number);
  REQUIRE(poller.add(number, EPOLLIN, idle.watcher));
  CHECK(ready_now(poller).empty());
  idle.raise();
  CHECK(ready_now(poller) == Ready{{&idle.watcher, EPOLLIN}});
}

TEST_CASE("poller: more than one turn takes in come with the next, and nobody is passed over") {
  constexpr std::size_t kCount = Poller::kMaxEvents + 44;
  Poller poller;
  std::deque<Flag> flags(kCount);
  std::map<const void*, Flag*> by_watcher;
  for (Flag& flag : flags) {
    REQUIRE(poller.add(flag.fd.get(), EPOLLIN, flag.watcher));
    flag.raise();
    by_watcher[&flag.watcher] = &flag;
  }
  std::set<const void*> told;
  for (int turn = 0; turn < 2; ++turn) {  // nobody is served: all are told all the same
    const auto events = poller.wait(proto::kNever);
    CHECK(events.size() == Poller::kMaxEvents);
    for (const epoll_event& event : events) told.insert(event.data.ptr);
  }
  CHECK(told.size() == kCount);
  std::size_t served = 0;
  for (std::size_t expected : {std::size_t{Poller::kMaxEvents}, std::size_t{44}, std::size_t{0}}) {
    const auto events = poller.wait(0);
    CHECK(events.size() == expected);
    for (const epoll_event& event : events) by_watcher.at(event.data.ptr)->lower();
    served += events.size();
  }
  CHECK(served == kCount);
}

TEST_CASE("poller: it sleeps no shorter than it should, and not at all for what is over") {
  Poller poller;
  for (const proto::Micros timeout : {1, 500, 999, 1'000, 1'001, 2'500, 9'999}) {
    CAPTURE(timeout);
    const proto::Micros begin = net::steady_now();
    CHECK(poller.wait(timeout).empty());
    CHECK(net::steady_now() - begin >= timeout);  // or the deadline would be asked about in circles
  }
  for (const proto::Micros timeout : {proto::Micros{0}, proto::Micros{-1}, -proto::kNever})
    CHECK(poller.wait(timeout).empty());
  // As long as can be: it must not come out as no time at all, or as a number that means nothing.
  Flag flag;
  REQUIRE(poller.add(flag.fd.get(), EPOLLIN, flag.watcher));
  for (const proto::Micros timeout :
       {proto::kNever, proto::kNever - 1, proto::kNever / 2, proto::Micros{0x80000000} * proto::kMillisecond,
        proto::Micros{0x100000000} * proto::kMillisecond}) {
    CAPTURE(timeout);
    std::thread other([&flag] { flag.raise(); });
    CHECK(poller.wait(timeout).size() == 1);
    other.join();
    flag.lower();
  }
}

TEST_CASE("poller: a signal ends the sleep with nothing") {
  Poller poller;
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
  const itimerval often{.it_interval = {0, 2'000}, .it_value = {0, 2'000}}, off{};
  REQUIRE(::setitimer(ITIMER_REAL, &often, nullptr) == 0);
  CHECK(poller.wait(proto::kNever).empty());
  REQUIRE(::setitimer(ITIMER_REAL, &off, nullptr) == 0);
  REQUIRE(::sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST_CASE("poller: at random, against a simple model") {
  auto random = test::seeded_random();
  Poller poller;
  struct Entry {
    Flag flag;
    bool in_set = false;
    std::uint32_t asked = 0;
    const net::Watcher* watcher = nullptr;
  };
  std::deque<Entry> entries(30);
  std::deque<Watcher> others(30);
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t index = random() % entries.size();
    Entry& entry = entries[index];
    const int fd = entry.flag.fd.get();
    const std::uint32_t asked = (random() % 2 == 0 ? EPOLLIN : 0U) | (random() % 4 == 0 ? EPOLLOUT : 0U);
    net::Watcher& watcher = random() % 2 == 0 ? entry.flag.watcher : others[index];
    switch (random() % 5) {
      case 0:
        entry.flag.raise();
        break;
      case 1:
        if (entry.flag.up) entry.flag.lower();
        break;
      case 2:
        REQUIRE(poller.add(fd, asked, watcher) == !entry.in_set);
        if (!entry.in_set) entry.asked = asked, entry.watcher = &watcher;
        entry.in_set = true;
        break;
      case 3:
        if (!entry.in_set) break;
        poller.modify(fd, asked, watcher);
        entry.asked = asked;
        entry.watcher = &watcher;
        break;
      default:
        if (!entry.in_set || random() % 3 > 0) break;
        poller.remove(fd);
        entry.in_set = false;
    }
    Ready expected;
    for (const Entry& each : entries) {
      const std::uint32_t events = each.asked & (each.flag.up ? EPOLLIN | EPOLLOUT : EPOLLOUT);
      if (each.in_set && events != 0) expected[each.watcher] = events;
    }
    REQUIRE(ready_now(poller) == expected);
  }
}
