#include "gateway/admin/metrics_routes.hpp"

#include <utility>

#include "gateway/http/request_fields.hpp"

namespace nbdgw::admin {

Metrics::Metrics(MetricsSource source, std::shared_ptr<http::HttpPostbox> postbox)
    : source_(std::move(source)), postbox_(std::move(postbox)) {}

void Metrics::scrape(http::Reply reply) {
  waiting_.push_back(std::move(reply));
  if (waiting_.size() > 1) return;
  postbox_->post_after(source_.limit, [this, round = round_] {
    if (round == round_) give_up();
  });
  if (!std::exchange(asked_, true)) ask();
}

void Metrics::ask() {
  source_.view([this, postbox = postbox_](shard::GatewayView view) {
    postbox->post([this, view = std::move(view)]() mutable { answer(std::move(view)); });
  });
}

void Metrics::answer(shard::GatewayView view) {
  asked_ = false;
  if (waiting_.empty()) return;  // nobody has waited for so long
  ++round_;
  AdminFigures admin = source_.admin(view);
  http::Response response{.status = 200,
                          .content_type = "text/plain; version=0.0.4; charset=utf-8",
                          .body = {},
                          .fields = {},
                          .shared = page_.render({.gateway = std::move(view),
                                                  .admin = std::move(admin),
                                                  .process = process_figures(),
                                                  .log = log_counts()})};
  std::vector<http::Reply> waiting = std::exchange(waiting_, {});
  for (std::size_t i = 0; i + 1 < waiting.size(); ++i) waiting[i].send(response);
  waiting.back().send(std::move(response));
}

void Metrics::give_up() {
  ++round_;
  for (http::Reply& each : std::exchange(waiting_, {})) {
    each.send(http::problem(503, "no_answer", "no answer from every shard in time; /livez?verbose tells which"));
  }
}

void add_metrics_routes(http::Router& router, Metrics& metrics) {
  router.add("GET", "/metrics", [&metrics](const http::Request& request, http::Reply reply) {
    if (!http::has_query(request, reply)) metrics.scrape(std::move(reply));
  });
}

}  // namespace nbdgw::admin
