#pragma once

#include <functional>
#include <vector>

#include "gateway/admin/metrics_page.hpp"
#include "gateway/admin/view_desk.hpp"
#include "gateway/http/router.hpp"
#include "gateway/shard/view.hpp"

namespace nbdgw::admin {

/// How long the shards may take: Prometheus itself gives up after 10 s, unless told otherwise.
inline constexpr proto::Micros kScrapeLimit = 5 * proto::kSecond;

/// GET /metrics. All scrapes that come while the shards are being asked share the answer.
class Metrics {
 public:
  /// All is done on the desk's thread; the desk must outlive it. `admin`: what the page has beside the view. `limit`:
  /// until a scrape is told that there is no answer.
  Metrics(ViewDesk& desk, std::function<AdminFigures(const shard::GatewayView&)> admin,
          proto::Micros limit = kScrapeLimit);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void scrape(http::Reply reply);

 private:
  void answer(const shard::GatewayView* view);

  ViewDesk& desk_;
  const std::function<AdminFigures(const shard::GatewayView&)> admin_;
  const proto::Micros limit_;
  MetricsPage page_;
  std::vector<http::Reply> waiting_;
};

/// The route; `metrics` must outlive the router.
void add_metrics_routes(http::Router& router, Metrics& metrics);

}  // namespace nbdgw::admin
