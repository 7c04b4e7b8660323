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
  if (place != series_.end() && place == from) return *from;
  laid_out_ = false;
  if (place == series_.end()) return *series_.insert(from, MetricSeries(std::string(name)));
  std::rotate(from, place, place + 1);
  return *from;
}

void MetricsPage::Owners::end_round() {
  if (next_ < series_.size()) laid_out_ = false;
  series_.erase(series_.begin() + static_cast<std::ptrdiff_t>(next_), series_.end());
  next_ = 0;
}

bool MetricsPage::Owners::are_laid_out() const {
  return laid_out_ && std::ranges::all_of(series_, &MetricSeries::is_laid_out);
}

void MetricsPage::Owners::lay_out(PatchedText& text, std::size_t metric) {
  laid_out_ = true;
  for (MetricSeries& each : series_) each.lay_out(text, metric);
}

void MetricsPage::Owners::patch(PatchedText& text) {
  for (MetricSeries& each : series_) each.patch(text);
}

void MetricsPage::update(const MetricsSnapshot& snapshot) {
  collect(snapshot, gateway_);
  for (const shard::ShardView& shard : snapshot.gateway.shards) {
    collect(shard, shards_.of(std::to_string(shard.index)));
    for (const shard::ExportView& exported : shard.exports) collect(exported, exports_.of(exported.name));
    for (const shard::SessionView& session : shard.sessions) collect(session, sessions_.of(session.target));
  }
  for (Owners* owners : {&shards_, &exports_, &sessions_}) owners->end_round();
}

http::SharedText MetricsPage::render(const MetricsSnapshot& snapshot) {
  update(snapshot);
  const auto all = {&shards_, &exports_, &sessions_};
  if (!gateway_.is_laid_out() || !std::ranges::all_of(all, &Owners::are_laid_out)) lay_out();
  gateway_.patch(text_);
  for (Owners* owners : all) owners->patch(text_);
  return text_.share();
}

void MetricsPage::lay_out() {
  text_.clear();
  const auto all = catalogue();
  for (std::size_t i = 0; i < all.size(); ++i) {
    text_.append(headers_[i]);
    const std::string_view owner = all[i]->labels.front();
    if (owner == "export")
      exports_.lay_out(text_, i);
    else if (owner == "session")
      sessions_.lay_out(text_, i);
    else if (owner == "shard")
      shards_.lay_out(text_, i);
    else
      gateway_.lay_out(text_, i);
  }
}

}  // namespace nbdgw::admin
