#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "gateway/admin/metrics_page.hpp"
#include "gateway/http/router.hpp"
#include "gateway/http/server.hpp"
#include "gateway/shard/view.hpp"

namespace nbdgw::admin {

/// How long the shards may take: Prometheus itself gives up after 10 s, unless told otherwise.
inline constexpr proto::Micros kScrapeLimit = 5 * proto::kSecond;

/// What /metrics finds things out from; called on the server's thread.
struct MetricsSource {
  std::function<void(std::function<void(shard::GatewayView)>)> view;  // may answer from any thread, or never
  std::function<AdminFigures(const shard::GatewayView&)> admin;
  proto::Micros limit = kScrapeLimit;  // until a scrape is told that there is no answer
};

/// GET /metrics. All scrapes that come while the shards are being asked share the answer, so that no number of them
/// costs a shard more than one copy of its numbers at a time.
class Metrics {
 public:
  /// `postbox`: of the server that asks; all is done on its thread.
  Metrics(MetricsSource source, std::shared_ptr<http::HttpPostbox> postbox);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void scrape(http::Reply reply);

 private:
  void ask();
  void answer(shard::GatewayView view);
  void give_up();

  const MetricsSource source_;
  const std::shared_ptr<http::HttpPostbox> postbox_;
  MetricsPage page_;
  std::vector<http::Reply> waiting_;
  std::uint64_t round_ = 0;  // of those who wait: a time limit ends no later one
  bool asked_ = false;       // a view is under way
};

/// The route; `metrics` must outlive the router.
void add_metrics_routes(http::Router& router, Metrics& metrics);

}  // namespace nbdgw::admin
