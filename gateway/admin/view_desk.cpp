#include "gateway/admin/view_desk.hpp"

#include <algorithm>
#include <utility>

#include "gateway/net/clock.hpp"
#include "gateway/shard/gather.hpp"

namespace nbdgw::admin {

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
  shard::Gather<shard::GatewayView> coming(1, [this, postbox = postbox_](auto views) {
    std::shared_ptr<const shard::GatewayView> view;  // none: the gateway has ended
    if (views[0]) view = std::make_shared<const shard::GatewayView>(*std::move(views[0]));
    postbox->post([this, view = std::move(view)] { end(view.get()); });
  });
  source_(std::exchange(clients_, false),
          [part = coming.part()](shard::GatewayView view) mutable { part.answer(std::move(view)); });
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
