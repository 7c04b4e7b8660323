#include "gateway/admin/metrics_routes.hpp"

#include <utility>

#include "gateway/http/request_fields.hpp"

namespace nbdgw::admin {

Metrics::Metrics(ViewDesk& desk, std::function<AdminFigures(const shard::GatewayView&)> admin, proto::Micros limit)
    : desk_(desk), admin_(std::move(admin)), limit_(limit) {}

void Metrics::scrape(http::Reply reply) {
  waiting_.push_back(std::move(reply));
  if (waiting_.size() > 1) return;
  desk_.ask(false, limit_, [this](const shard::GatewayView* view) { answer(view); });
}

void Metrics::answer(const shard::GatewayView* view) {
  std::vector<http::Reply> waiting = std::exchange(waiting_, {});
  if (view == nullptr) {
    for (http::Reply& each : waiting)
      each.send(http::problem(503, "no_answer", "no answer from every shard in time; /livez?verbose tells which"));
    return;
  }
  http::Response response{
      .status = 200,
      .content_type = "text/plain; version=0.0.4; charset=utf-8",
      .body = {},
      .fields = {},
      .shared = page_.render(
          {.gateway = *view, .admin = admin_(*view), .process = process_figures(), .log = log_counts()})};
  for (std::size_t i = 0; i + 1 < waiting.size(); ++i) waiting[i].send(response);
  waiting.back().send(std::move(response));
}

void add_metrics_routes(http::Router& router, Metrics& metrics) {
  router.add("GET", "/metrics", [&metrics](const http::Request& request, http::Reply reply) {
    if (!http::has_query(request, reply)) metrics.scrape(std::move(reply));
  });
}

}  // namespace nbdgw::admin
