#include "gateway/admin/view_desk.hpp"

#include <utility>

#include "gateway/control/gateway.hpp"
#include "gateway/net/clock.hpp"

namespace nbdgw::admin {

namespace {

/// How long anybody waits for the shards.
constexpr proto::Micros kLimit = 5 * proto::kSecond;

/// What a view comes to, once: itself, or nothing when it is dropped because the gateway has ended.
struct Coming {
  std::function<void(std::shared_ptr<const shard::GatewayView>)> done;
  ~Coming() {
    if (done) done(nullptr);
  }
};

}  // namespace

ViewDesk::ViewDesk(control::Gateway& gateway, std::shared_ptr<http::HttpPostbox> postbox)
    : gateway_(gateway), postbox_(postbox), alarm_(std::move(postbox), [this] { give_up(); }) {}

void ViewDesk::ask(bool clients, User user) {
  waiting_.push_back(std::move(user));
  clients_ = clients_ || clients;
  if (!under_way_) begin();
}

void ViewDesk::begin() {
  under_way_ = true;
  served_ = std::exchange(waiting_, {});
  deadline_ = net::steady_now() + kLimit;
  alarm_.set(deadline_);
  auto coming = std::make_shared<Coming>();
  coming->done = [this, postbox = postbox_](std::shared_ptr<const shard::GatewayView> view) {
    postbox->post([this, view = std::move(view)] { end(view.get()); });
  };
  gateway_.view({.clients = std::exchange(clients_, false)}, [coming](shard::GatewayView view) {
    std::exchange(coming->done, nullptr)(std::make_shared<const shard::GatewayView>(std::move(view)));
  });
}

void ViewDesk::end(const shard::GatewayView* view) {
  under_way_ = false;
  const std::vector<User> users = std::exchange(served_, {});
  if (view != nullptr)
    for (const User& user : users) user(*view);
  if (!waiting_.empty() && !under_way_) begin();
}

/// The view may still come; until then no other one is asked for, but nobody waits for it.
void ViewDesk::give_up() {
  if (!under_way_) return;
  if (const proto::Micros now = net::steady_now(); now >= deadline_) {
    served_.clear();
    waiting_.clear();
    deadline_ = now + kLimit;
  }
  alarm_.set(deadline_);
}

}  // namespace nbdgw::admin
