#pragma once

#include <prometheus/client_metric.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gateway/admin/catalogue.hpp"
#include "gateway/admin/patched_text.hpp"
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
  /// `labels`: what becomes a string, in the order of the catalogue, without the owner's. They are looked at the
  /// first time only.
  template <typename... Labels>
  void put(const Metric& metric, double value, const Labels&... labels) {
    if (!built_) return add(metric, value, {static_cast<std::string>(labels)...});
    Block& block = current(metric);
    // By their bits: 0 and -0 are the same number, and not the same text.
    if (std::bit_cast<std::uint64_t>(values_[value_]) != std::bit_cast<std::uint64_t>(value)) {
      values_[value_] = value;
      mark(block);
    }
    if (++value_ == block.behind) ++block_;
  }
  template <typename... Labels>
  void put(const Metric& metric, const proto::DurationHistogram& durations, const Labels&... labels) {
    if (!built_) return add(metric, durations, {static_cast<std::string>(labels)...});
    Block& block = current(metric);
    ++block_;
    proto::DurationHistogram& known = histograms_[block.first];
    if (known == durations) return;
    known = durations;
    mark(block);
  }
  void end();

  /// Whether all lines have their place in a text: not if there are others now than when they got it.
  bool is_laid_out() const noexcept { return laid_out_; }
  /// Appends the lines of each metric, and keeps their places: for each metric once.
  void lay_out(PatchedText& text, std::size_t index);
  /// Writes over what has changed since.
  void patch(PatchedText& text);

 private:
  /// What is looked at in every scrape; what is not is in Lines.
  struct Block {
    const Metric* metric = nullptr;
    std::uint32_t first = 0;   // of its values; of a histogram: which one it is
    std::uint32_t behind = 0;  // the last of its values
    bool dirty = false;
  };
  struct Lines {
    PatchedText::Place place;
    std::vector<prometheus::ClientMetric> series;  // with their labels, until the prefixes are there
    std::string prefixes;             // of all lines, one behind the other: what is left of their numbers
    std::vector<std::uint32_t> ends;  // of each of them
  };

  Block& current(const Metric& metric) noexcept {
    NBDGW_ASSERT(block_ < blocks_.size() && blocks_[block_].metric == &metric, "the same series in the same order");
    return blocks_[block_];
  }
  void mark(Block& block) {
    if (std::exchange(block.dirty, true)) return;
    dirty_.push_back(static_cast<std::uint32_t>(&block - blocks_.data()));
  }
  void add(const Metric& metric, double value, std::vector<std::string> labels);
  void add(const Metric& metric, const proto::DurationHistogram& durations, std::vector<std::string> labels);
  Block& add_block(const Metric& metric, std::size_t first);
  void describe(const Metric& metric, std::vector<std::string> labels);
  static void make_prefixes(const Metric& metric, Lines& lines);
  void make_index();
  const std::string& render(std::size_t block);
  void render_scalars(const Block& block, const Lines& lines);
  void render_histogram(const Block& block, const Lines& lines);

  std::string owner_;
  bool owned_ = false;
  bool built_ = false;  // all blocks are there
  bool laid_out_ = false;
  std::size_t shape_ = 0;
  std::size_t block_ = 0;  // where the next put() goes
  std::size_t value_ = 0;
  std::vector<Block> blocks_;
  std::vector<double> values_;                        // of all scalars
  std::vector<proto::DurationHistogram> histograms_;  // all of them
  std::vector<std::uint32_t> dirty_;                  // blocks, in the order of the changes
  std::vector<Lines> lines_;                          // of each block
  std::vector<std::pair<std::uint32_t, std::uint32_t>>
      index_;            // by metric: its first block, and the one after its last
  std::string written_;  // by render(): kept for its memory
};

}  // namespace nbdgw::admin
