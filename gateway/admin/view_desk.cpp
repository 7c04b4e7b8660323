#include "gateway/admin/view_desk.hpp"

#include <algorithm>
#include <utility>

#include "gateway/net/clock.hpp"

namespace nbdgw::admin {

namespace {

/// What a view comes to, once: itself, or nothing when it is dropped because the gateway has ended.
struct Coming {
  std::function<void(std::shared_ptr<const shard::GatewayView>)> done;
  ~Coming() {
    if (done) done(nullptr);
  }
};

}  // namespace

ViewDesk::ViewDesk(Source source, std::shared_ptr<http::HttpPostbox> postbox)
    : source_(std::move(source)), postbox_(postbox), alarm_(std::move(postbox), [this] { give_up(); }) {}

void ViewDesk::ask(bool clients, proto::Micros limit, User user) {
  waiting_.push_back({std::move(user), net::steady_now() + limit});
  clients_ = clients_ || clients;
  if (!under_way_) begin();
  set_alarm();
}

void ViewDesk::begin() {
  under_way_ = true;
  served_ = std::exchange(waiting_, {});
  auto coming = std::make_shared<Coming>();
  coming->done = [this, postbox = postbox_](std::shared_ptr<const shard::GatewayView> view) {
    postbox->post([this, view = std::move(view)] { end(view.get()); });
  };
  source_(std::exchange(clients_, false), [coming](shard::GatewayView view) {
    std::exchange(coming->done, nullptr)(std::make_shared<const shard::GatewayView>(std::move(view)));
  });
}

void ViewDesk::end(const shard::GatewayView* view) {
  under_way_ = false;
  for (const Waiting& each : std::exchange(served_, {})) each.user(view);
  if (!waiting_.empty() && !under_way_) begin();
}

/// The view may still come; until then no other one is asked for, but nobody waits for it.
void ViewDesk::give_up() {
  std::vector<Waiting> late;
  const proto::Micros now = net::steady_now();
  for (std::vector<Waiting>* those : {&served_, &waiting_}) {
    const auto first =
        std::stable_partition(those->begin(), those->end(), [&](const Waiting& each) { return each.deadline > now; });
    late.insert(late.end(), std::make_move_iterator(first), std::make_move_iterator(those->end()));
    those->erase(first, those->end());
  }
  for (const Waiting& each : late) each.user(nullptr);
  set_alarm();
}

void ViewDesk::set_alarm() {
  proto::Micros next = proto::kNever;
  for (const std::vector<Waiting>* those : {&served_, &waiting_})
    for (const Waiting& each : *those) next = std::min(next, each.deadline);
  alarm_.set(next);
}

}  // namespace nbdgw::admin
