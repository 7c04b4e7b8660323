#pragma once

#include <prometheus/client_metric.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/admin/catalogue.hpp"
#include "proto/assert.hpp"
#include "proto/histogram.hpp"

namespace nbdgw::admin {

/// The place of a metric in catalogue().
std::size_t index_of(const Metric& metric) noexcept;

/// "# HELP ..." and "# TYPE ...", as prometheus-cpp's TextSerializer writes them.
std::string metric_header(const Metric& metric);

/// All time series of one thing that is watched, an export for instance, as lines of text for Prometheus.
///
/// Most values are what they were at the scrape before, so the text is kept, and only the blocks are written again in
/// which a value has changed. A block is what belongs together in the text: the scalars of one metric, or one
/// histogram. prometheus-cpp's TextSerializer writes each line once, when a series is seen for the first time; from
/// then on only the number at its end is replaced, by one that is written as the TextSerializer would.
class MetricSeries {
 public:
  /// `owner`: value of the first label of all metrics; without one the metrics are those of the gateway as a whole.
  MetricSeries() = default;
  explicit MetricSeries(std::string owner) : owner_(std::move(owner)), owned_(true) {}

  const std::string& owner() const noexcept { return owner_; }

  /// A new look at all values: put() each of them, in the same order every time, then end(). Those of a metric follow
  /// each other. `shape`: another number than the last time says that there are other series now.
  void begin(std::size_t shape = 0);
  /// Labels in the order of the catalogue, without the owner's; empty ones are not there.
  void put(const Metric& metric, double value, std::string_view label = {}, std::string_view second = {}) {
    if (!built_) return add(metric, value, label, second);
    Block& block = current(metric);
    // By their bits: 0 and -0 are the same number, and not the same text.
    if (std::bit_cast<std::uint64_t>(block.values[value_]) != std::bit_cast<std::uint64_t>(value)) {
      block.values[value_] = value;
      block.dirty = true;
    }
    if (++value_ == block.values.size()) {
      ++block_;
      value_ = 0;
    }
  }
  void put(const Metric& metric, const proto::DurationHistogram& durations, std::string_view label = {}) {
    if (!built_) return add(metric, durations, label);
    Block& block = current(metric);
    ++block_;
    if (block.histogram == durations) return;
    block.histogram = durations;
    block.dirty = true;
  }
  void end();

  /// Appends the lines of this metric.
  void append_to(std::string& out, std::size_t index) const;

 private:
  struct Block {
    const Metric* metric = nullptr;
    std::vector<double> values;                    // of scalars, one for each line
    proto::DurationHistogram histogram;            // of a histogram
    std::vector<prometheus::ClientMetric> series;  // with their labels, until the prefixes are there
    std::string prefixes;             // of all lines, one behind the other: what is left of their numbers
    std::vector<std::uint32_t> ends;  // of each of them
    bool dirty = true;
    std::string text;
  };

  Block& current(const Metric& metric) noexcept {
    NBDGW_ASSERT(block_ < blocks_.size() && blocks_[block_].metric == &metric, "the same series in the same order");
    return blocks_[block_];
  }
  void add(const Metric& metric, double value, std::string_view label, std::string_view second);
  void add(const Metric& metric, const proto::DurationHistogram& durations, std::string_view label);
  void describe(Block& block, const Metric& metric, std::string_view label, std::string_view second);
  static void make_prefixes(Block& block);
  void make_index();
  static void render(Block& block);
  static void render_histogram(Block& block);

  std::string owner_;
  bool owned_ = false;
  bool built_ = false;  // all blocks are there
  std::size_t shape_ = 0;
  std::vector<Block> blocks_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>>
      index_;              // by metric: its first block, and the one after its last
  std::size_t block_ = 0;  // where the next put() goes
  std::size_t value_ = 0;
};

}  // namespace nbdgw::admin
