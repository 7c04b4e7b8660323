#include "gateway/admin/metrics_page.hpp"

#include <algorithm>
#include <utility>

#include "gateway/admin/metrics_collect.hpp"

namespace nbdgw::admin {

MetricsPage::MetricsPage() {
  for (const Metric* metric : catalogue()) headers_.push_back(metric_header(*metric));
}

MetricSeries& MetricsPage::Owners::of(std::string_view name) {
  // The order hardly ever changes, so the owner is nearly always where it was before.
  const auto from = series_.begin() + static_cast<std::ptrdiff_t>(next_++);
  const auto place = std::ranges::find(from, series_.end(), name, &MetricSeries::owner);
  if (place == series_.end()) return *series_.insert(from, MetricSeries(std::string(name)));
  std::rotate(from, place, place + 1);
  return *from;
}

void MetricsPage::Owners::end_round() {
  series_.erase(series_.begin() + static_cast<std::ptrdiff_t>(next_), series_.end());
  next_ = 0;
}

void MetricsPage::Owners::append_to(std::string& out, std::size_t metric) const {
  for (const MetricSeries& each : series_) each.append_to(out, metric);
}

void MetricsPage::update(const MetricsSnapshot& snapshot) {
  collect(snapshot, gateway_);
  for (const net::ShardView& shard : snapshot.gateway.shards) {
    collect(shard, shards_.of(std::to_string(shard.index)));
    for (const net::ExportView& exported : shard.exports) collect(exported, exports_.of(exported.name));
    for (const net::SessionView& session : shard.sessions) collect(session, sessions_.of(session.target));
  }
  for (Owners* owners : {&shards_, &exports_, &sessions_}) owners->end_round();
}

std::string MetricsPage::render(const MetricsSnapshot& snapshot) {
  update(snapshot);
  std::string page;
  page.reserve(last_size_ + last_size_ / 16);
  const auto all = catalogue();
  for (std::size_t i = 0; i < all.size(); ++i) {
    page += headers_[i];
    const std::string_view owner = all[i]->labels.front();
    if (owner == "export")
      exports_.append_to(page, i);
    else if (owner == "session")
      sessions_.append_to(page, i);
    else if (owner == "shard")
      shards_.append_to(page, i);
    else
      gateway_.append_to(page, i);
  }
  last_size_ = page.size();
  return page;
}

}  // namespace nbdgw::admin
