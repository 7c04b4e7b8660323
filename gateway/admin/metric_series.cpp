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
    values_.clear();
    histograms_.clear();
    dirty_.clear();
    lines_.clear();
    built_ = false;
    shape_ = shape;
  }
  block_ = value_ = 0;
}

MetricSeries::Block& MetricSeries::add_block(const Metric& metric, std::size_t first) {
  lines_.emplace_back();
  Block& block = blocks_.emplace_back();
  block.metric = &metric;
  block.first = static_cast<std::uint32_t>(first);
  return block;
}

void MetricSeries::add(const Metric& metric, double value, std::vector<std::string> labels) {
  const bool another = !blocks_.empty() && blocks_.back().metric == &metric;
  Block& block = another ? blocks_.back() : add_block(metric, values_.size());
  values_.push_back(value);
  block.behind = static_cast<std::uint32_t>(values_.size());
  describe(metric, std::move(labels));
}

void MetricSeries::add(const Metric& metric, const proto::DurationHistogram& durations,
                       std::vector<std::string> labels) {
  add_block(metric, histograms_.size());
  histograms_.push_back(durations);
  describe(metric, std::move(labels));
}

/// Notes the labels of the value that was added last.
void MetricSeries::describe(const Metric& metric, std::vector<std::string> labels) {
  if (owned_) labels.insert(labels.begin(), owner_);
  prometheus::ClientMetric& series = lines_.back().series.emplace_back();
  for (std::size_t i = 0; i < metric.labels.size(); ++i) {
    NBDGW_ASSERT(metric.labels[i].empty() == (i >= labels.size()),
                 "the labels of the catalogue, no more and no less");
    if (i < labels.size()) series.label.push_back({std::string(metric.labels[i]), std::move(labels[i])});
  }
}

void MetricSeries::end() {
  if (built_) {
    NBDGW_ASSERT(block_ == blocks_.size(), "all series, every time");
    return;
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) make_prefixes(*blocks_[i].metric, lines_[i]);
  make_index();
  built_ = true;
  laid_out_ = false;
}

void MetricSeries::make_prefixes(const Metric& metric, Lines& lines) {
  prometheus::MetricFamily family = family_of(metric);
  const std::size_t header = serialize(family).size();
  family.metric = std::exchange(lines.series, {});
  if (metric.kind == MetricKind::histogram) {
    for (const proto::Micros bound : kDurationBuckets) {
      family.metric.front().histogram.bucket.push_back({0, static_cast<double>(bound) / kMicrosPerSecond});
    }
  }
  const std::string text = serialize(std::move(family));
  for (std::size_t begin = header; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    const std::size_t number = text.rfind(' ', end) + 1;
    lines.prefixes.append(text, begin, number - begin);
    lines.ends.push_back(static_cast<std::uint32_t>(lines.prefixes.size()));
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

void MetricSeries::lay_out(PatchedText& text, std::size_t index) {
  laid_out_ = true;
  if (index_.empty()) return;
  const auto [first, behind] = index_[index];
  for (std::uint32_t i = first; i < behind; ++i) lines_[i].place = text.append(render(i));
}

void MetricSeries::patch(PatchedText& text) {
  for (const std::uint32_t i : dirty_) {
    text.replace(lines_[i].place, render(i));
    blocks_[i].dirty = false;
  }
  dirty_.clear();
}

const std::string& MetricSeries::render(std::size_t block) {
  written_.clear();
  if (blocks_[block].metric->kind == MetricKind::histogram)
    render_histogram(blocks_[block], lines_[block]);
  else
    render_scalars(blocks_[block], lines_[block]);
  return written_;
}

void MetricSeries::render_scalars(const Block& block, const Lines& lines) {
  std::uint32_t begin = 0;
  for (std::size_t i = 0; i < lines.ends.size(); ++i) {
    written_.append(lines.prefixes, begin, lines.ends[i] - begin);
    append(written_, values_[block.first + i]);
    written_ += '\n';
    begin = lines.ends[i];
  }
}

/// The TextSerializer's order: the count, the sum, then the buckets, each with all that is below it.
void MetricSeries::render_histogram(const Block& block, const Lines& lines) {
  const proto::DurationHistogram& histogram = histograms_[block.first];
  const auto& buckets = histogram.buckets();
  NBDGW_ASSERT(lines.ends.size() == 2 + buckets.size(), "the serializer's lines of a histogram");
  std::uint64_t below = 0;
  std::uint32_t begin = 0;
  for (std::size_t i = 0; i < lines.ends.size(); ++i) {
    written_.append(lines.prefixes, begin, lines.ends[i] - begin);
    if (i == 0)
      append(written_, histogram.count());
    else if (i == 1)
      append(written_, static_cast<double>(histogram.sum()) / kMicrosPerSecond);
    else
      append(written_, below += buckets[i - 2]);
    written_ += '\n';
    begin = lines.ends[i];
  }
}

}  // namespace nbdgw::admin
