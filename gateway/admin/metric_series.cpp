#include "gateway/admin/metric_series.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "proto/assert.hpp"

namespace nbdgw::admin {

namespace {

constexpr double kMicrosPerSecond = 1'000'000;

prometheus::MetricType type_of(MetricKind kind) noexcept {
  switch (kind) {
    case MetricKind::counter:
      return prometheus::MetricType::Counter;
    case MetricKind::gauge:
      return prometheus::MetricType::Gauge;
    case MetricKind::histogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

prometheus::MetricFamily family_of(const Metric& metric) {
  return {std::string(metric.name), std::string(metric.help), type_of(metric.kind), {}};
}

std::string serialize(prometheus::MetricFamily family) {
  return prometheus::TextSerializer().Serialize({std::move(family)});
}

void append(std::string& out, std::uint64_t number) {
  std::array<char, 24> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  out.append(text.data(), end);
}

/// As a stream of the TextSerializer's precision does it.
void append(std::string& out, double number) {
  constexpr double kExact = 1e15;  // whole numbers below have no exponent
  if (!std::signbit(number) && number < kExact && number == std::floor(number)) {
    return append(out, static_cast<std::uint64_t>(number));
  }
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::general,
                                 std::numeric_limits<double>::max_digits10 - 1)
                       .ptr;
  out.append(text.data(), end);
}

}  // namespace

std::size_t index_of(const Metric& metric) noexcept {
  const auto all = catalogue();
  const auto place = std::ranges::find(all, &metric);
  NBDGW_ASSERT(place != all.end(), "every metric is in the catalogue");
  return static_cast<std::size_t>(place - all.begin());
}

std::string metric_header(const Metric& metric) {
  return serialize(family_of(metric));
}

void MetricSeries::begin(std::size_t shape) {
  if (shape != shape_) {
    blocks_.clear();
    built_ = false;
    shape_ = shape;
  }
  block_ = value_ = 0;
}

void MetricSeries::add(const Metric& metric, double value, std::string_view label, std::string_view second) {
  Block& block = !blocks_.empty() && blocks_.back().metric == &metric ? blocks_.back() : blocks_.emplace_back();
  block.values.push_back(value);
  describe(block, metric, label, second);
}

void MetricSeries::add(const Metric& metric, const proto::DurationHistogram& durations, std::string_view label) {
  Block& block = blocks_.emplace_back();
  block.histogram = durations;
  describe(block, metric, label, {});
}

/// Notes the labels of the value that was added last.
void MetricSeries::describe(Block& block, const Metric& metric, std::string_view label, std::string_view second) {
  block.metric = &metric;
  std::vector<std::string_view> values;
  if (owned_) values.push_back(owner_);
  if (!label.empty()) values.push_back(label);
  if (!second.empty()) values.push_back(second);
  prometheus::ClientMetric& series = block.series.emplace_back();
  for (std::size_t i = 0; i < metric.labels.size(); ++i) {
    NBDGW_ASSERT(metric.labels[i].empty() == (i >= values.size()),
                 "the labels of the catalogue, no more and no less");
    if (i < values.size()) series.label.push_back({std::string(metric.labels[i]), std::string(values[i])});
  }
}

void MetricSeries::end() {
  if (!built_) {
    for (Block& block : blocks_) make_prefixes(block);
    make_index();
    built_ = true;
  } else {
    NBDGW_ASSERT(block_ == blocks_.size(), "all series, every time");
  }
  for (Block& block : blocks_) {
    if (!std::exchange(block.dirty, false)) continue;
    block.text.clear();
    if (block.metric->kind == MetricKind::histogram)
      render_histogram(block);
    else
      render(block);
  }
}

void MetricSeries::make_prefixes(Block& block) {
  prometheus::MetricFamily family = family_of(*block.metric);
  const std::size_t header = serialize(family).size();
  family.metric = std::exchange(block.series, {});
  if (block.metric->kind == MetricKind::histogram) {
    for (const proto::Micros bound : kDurationBuckets) {
      family.metric.front().histogram.bucket.push_back({0, static_cast<double>(bound) / kMicrosPerSecond});
    }
  }
  const std::string text = serialize(std::move(family));
  for (std::size_t begin = header; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    const std::size_t number = text.rfind(' ', end) + 1;
    block.prefixes.append(text, begin, number - begin);
    block.ends.push_back(static_cast<std::uint32_t>(block.prefixes.size()));
    begin = end + 1;
  }
}

void MetricSeries::make_index() {
  index_.assign(catalogue().size(), {0, 0});
  for (std::uint32_t i = 0; i < blocks_.size(); ++i) {
    auto& [first, behind] = index_[index_of(*blocks_[i].metric)];
    NBDGW_ASSERT(behind == 0 || behind == i, "the series of a metric follow each other");
    if (behind == 0) first = i;
    behind = i + 1;
  }
}

void MetricSeries::render(Block& block) {
  std::uint32_t begin = 0;
  for (std::size_t i = 0; i < block.ends.size(); ++i) {
    block.text.append(block.prefixes, begin, block.ends[i] - begin);
    append(block.text, block.values[i]);
    block.text += '\n';
    begin = block.ends[i];
  }
}

/// The TextSerializer's order: the count, the sum, then the buckets, each with all that is below it.
void MetricSeries::render_histogram(Block& block) {
  const auto& buckets = block.histogram.buckets();
  NBDGW_ASSERT(block.ends.size() == 2 + buckets.size(), "the serializer's lines of a histogram");
  std::uint64_t below = 0;
  std::uint32_t begin = 0;
  for (std::size_t i = 0; i < block.ends.size(); ++i) {
    block.text.append(block.prefixes, begin, block.ends[i] - begin);
    if (i == 0)
      append(block.text, block.histogram.count());
    else if (i == 1)
      append(block.text, static_cast<double>(block.histogram.sum()) / kMicrosPerSecond);
    else
      append(block.text, below += buckets[i - 2]);
    block.text += '\n';
    begin = block.ends[i];
  }
}

void MetricSeries::append_to(std::string& out, std::size_t index) const {
  if (index_.empty()) return;
  const auto [first, behind] = index_[index];
  for (std::uint32_t i = first; i < behind; ++i) out += blocks_[i].text;
}

}  // namespace nbdgw::admin
