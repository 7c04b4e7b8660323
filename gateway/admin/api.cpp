#include "gateway/admin/api.hpp"

#include <algorithm>

#include "gateway/admin/fault_routes.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/net/clock.hpp"

namespace nbdgw::admin {

namespace {

/// How often it is looked whether a client that is being sent away has gone.
constexpr proto::Micros kClientLook = 100 * proto::kMillisecond;
/// How long anybody waits for the shards.
constexpr proto::Micros kViewLimit = 5 * proto::kSecond;

}  // namespace

Api::Api(control::Gateway& gateway, ViewDesk& desk, const http::HttpServer& http,
         std::function<bool(const shard::GatewayView&)> is_ready, ApiSetup setup)
    : gateway_(gateway),
      desk_(desk),
      http_(http),
      postbox_(http.postbox()),
      is_ready_(std::move(is_ready)),
      setup_(std::move(setup)),
      started_{net::steady_now(), net::wall_now()},
      log_([this] { return setup_.config().log.level; }),
      alarm_(postbox_, [this] { look_at_the_clock(); }) {
  gateway_.events().observe([this, postbox = postbox_](const shard::EventRecord& record) {
    postbox->post([this, record] { on_record(record); });
  });
}

Api::~Api() {
  gateway_.events().observe({});
}

void Api::add_routes(http::Router& router) {
  add_read_routes(router);
  add_change_routes(router);
  add_recovery_routes(router);
  if (setup_.target != nullptr) add_fault_routes(router, *setup_.target, &audit_);
}

void Api::with_view(bool clients, std::function<void(const shard::GatewayView& view)> use) {
  desk_.ask(clients, kViewLimit, [use = std::move(use)](const shard::GatewayView* view) {
    if (view != nullptr) use(*view);
  });
}

/// Whatever has a deadline.
void Api::look_at_the_clock() {
  const Now now{net::steady_now(), net::wall_now()};
  log_.on_deadline(now.steady);
  operations_.on_deadline(now);
  answer_polls();
  proto::Micros next = std::min(log_.next_deadline(), operations_.next_deadline());
  for (const Poll& each : polls_) next = std::min(next, each.deadline);
  if (operations_.awaits_clients()) {
    with_view(true, [this](const shard::GatewayView& view) {
      operations_.on_view(view, {net::steady_now(), net::wall_now()});
    });
    next = std::min(next, now.steady + kClientLook);
  }
  alarm_.set(next);
}

}  // namespace nbdgw::admin
