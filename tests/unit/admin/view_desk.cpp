// Who is served with which view of a gateway, of which every answer is up to the test.
#include "gateway/admin/view_desk.hpp"

#include <atomic>
#include <future>
#include <mutex>
#include <utility>

#include <doctest/doctest.h>

#include "tests/unit/http/served.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using namespace nbdgw::admin;
using nbdgw::test::until;

namespace {

using Done = std::function<void(shard::GatewayView)>;
constexpr proto::Micros kLong = 20 * proto::kSecond;

/// What a user was given: the number of clients that the view tells of, or that there is none.
constexpr int kNothing = -1;

class Desk {
 public:
  Desk() : server_({test::local_address()}, router_, net::ListenerSettings{}) {
    desk_.emplace(
        [this](bool clients, Done done) {
          const std::lock_guard lock(mutex_);
          asked_.push_back(clients);
          owed_.push_back(std::move(done));
        },
        server_.postbox());
    server_.start();
  }
  ~Desk() { server_.stop(); }

  /// Number of the user, whose answer answer_of() waits for.
  std::size_t ask(bool clients = false, proto::Micros limit = kLong) {
    auto promise = std::make_shared<std::promise<int>>();
    answers_.push_back(promise->get_future());
    std::promise<void> done;
    server_.postbox()->post([&, promise] {
      desk_->ask(clients, limit, [promise](const shard::GatewayView* view) {
        promise->set_value(view == nullptr ? kNothing : static_cast<int>(view->clients));
      });
      done.set_value();
    });
    done.get_future().wait();
    return answers_.size() - 1;
  }
  int answer_of(std::size_t user) { return answers_[user].get(); }
  /// Whether anything has been asked of the gateway, in the order of asking: with clients or without.
  std::vector<bool> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  /// The gateway answers what it was asked first.
  void give(std::uint32_t clients) {
    shard::GatewayView view;
    view.clients = clients;
    take()(std::move(view));
  }
  /// It has ended instead.
  void drop() { take(); }

 private:
  Done take() {
    const std::lock_guard lock(mutex_);
    Done first = std::move(owed_.at(0));
    owed_.erase(owed_.begin());
    return first;
  }

  std::mutex mutex_;
  std::vector<bool> asked_;
  std::vector<Done> owed_;
  std::vector<std::future<int>> answers_;
  http::Router router_;
  http::HttpServer server_;
  std::optional<ViewDesk> desk_;
};

}  // namespace

TEST_CASE("view desk: one view at a time, and nobody is shown one that was asked for before he came") {
  Desk desk;
  const auto first = desk.ask();
  const auto second = desk.ask(true);
  const auto third = desk.ask();
  CHECK(desk.asked() == std::vector{false});
  desk.give(1);
  CHECK(desk.answer_of(first) == 1);
  until([&] { return desk.asked() == std::vector{false, true}; });  // one of them wants clients
  desk.give(2);
  CHECK(desk.answer_of(second) == 2);
  CHECK(desk.answer_of(third) == 2);
  const auto fourth = desk.ask();
  CHECK(desk.asked() == std::vector{false, true, false});
  desk.give(3);
  CHECK(desk.answer_of(fourth) == 3);
}

TEST_CASE("view desk: where the gateway is stuck each waits for his own time, and no second view is asked for") {
  Desk desk;
  const auto patient = desk.ask();
  CHECK(desk.answer_of(desk.ask(false, 20 * proto::kMillisecond)) == kNothing);
  CHECK(desk.answer_of(desk.ask(false, 0)) == kNothing);
  CHECK(desk.asked().size() == 1);
  const auto waits = desk.ask();
  desk.give(7);
  CHECK(desk.answer_of(patient) == 7);
  until([&] { return desk.asked().size() == 2; });
  desk.give(8);
  CHECK(desk.answer_of(waits) == 8);
}

TEST_CASE("view desk: a view that comes when nobody waits for it any more is for nobody") {
  Desk desk;
  CHECK(desk.answer_of(desk.ask(false, 0)) == kNothing);
  const auto later = desk.ask();
  desk.give(1);
  until([&] { return desk.asked().size() == 2; });
  desk.give(2);
  CHECK(desk.answer_of(later) == 2);
}

TEST_CASE("view desk: a gateway that has ended is told at once, to those who wait for the next view, too") {
  Desk desk;
  const auto first = desk.ask();
  const auto second = desk.ask();
  desk.drop();
  CHECK(desk.answer_of(first) == kNothing);
  until([&] { return desk.asked().size() == 2; });
  desk.drop();
  CHECK(desk.answer_of(second) == kNothing);
}
