#include "gateway/admin/metrics_routes.hpp"

#include <utility>

#include "gateway/admin/api_request.hpp"

namespace nbdgw::admin {

Metrics::Metrics(MetricsSource source, std::shared_ptr<HttpPostbox> postbox)
    : source_(std::move(source)), postbox_(std::move(postbox)) {}

void Metrics::scrape(Reply reply) {
  waiting_.push_back(std::move(reply));
  if (waiting_.size() > 1) return;
  postbox_->post_after(source_.limit, [this, round = round_] {
    if (round == round_) give_up();
  });
  if (!std::exchange(asked_, true)) ask();
}

void Metrics::ask() {
  source_.view([this, postbox = postbox_](net::GatewayView view) {
    postbox->post([this, view = std::move(view)]() mutable { answer(std::move(view)); });
  });
}

void Metrics::answer(net::GatewayView view) {
  asked_ = false;
  if (waiting_.empty()) return;  // nobody has waited for so long
  ++round_;
  AdminFigures admin = source_.admin(view);
  Response response{.status = 200,
                    .content_type = "text/plain; version=0.0.4; charset=utf-8",
                    .body = {},
                    .fields = {},
                    .shared = page_.render({.gateway = std::move(view),
                                            .admin = std::move(admin),
                                            .process = process_figures(),
                                            .log = log_counts()})};
  std::vector<Reply> waiting = std::exchange(waiting_, {});
  for (std::size_t i = 0; i + 1 < waiting.size(); ++i) waiting[i].send(response);
  waiting.back().send(std::move(response));
}

void Metrics::give_up() {
  ++round_;
  for (Reply& each : std::exchange(waiting_, {})) {
    each.send(problem(503, "no_answer", "no answer from every shard in time; /livez?verbose tells which"));
  }
}

void add_metrics_routes(Router& router, Metrics& metrics) {
  router.add("GET", "/metrics", [&metrics](const Request& request, Reply reply) {
    if (!has_query(request, reply)) metrics.scrape(std::move(reply));
  });
}

}  // namespace nbdgw::admin
