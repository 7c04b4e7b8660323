#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/admin/log_counts.hpp"
#include "gateway/admin/metric_series.hpp"
#include "gateway/admin/patched_text.hpp"
#include "gateway/admin/process_figures.hpp"
#include "gateway/control/reload.hpp"
#include "gateway/http/server.hpp"
#include "gateway/shard/view.hpp"

namespace nbdgw::admin {

/// How often a change was asked for over the admin API, and what came of it.
struct ChangeCounts {
  std::string_view verb;
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
  std::uint64_t dry_run = 0;
};

/// What the admin server knows of itself.
struct AdminFigures {
  std::string_view version;
  bool ready = false;                         // what /readyz says
  std::uint32_t connections = 0;              // HTTP clients
  std::map<unsigned, std::uint64_t> answers;  // by HTTP status
  std::array<std::uint64_t, http::kIntrusions> intrusions{};
  std::vector<ChangeCounts> changes;  // of every verb that there is, always in the same order
  control::ReloadCounts reloads{};
};

/// All that one scrape is made from.
struct MetricsSnapshot {
  const shard::GatewayView& gateway;
  AdminFigures admin;
  ProcessFigures process;
  LogCounts log;
};

/// The text that Prometheus reads: all metrics of the catalogue, in its order. Keeps what it has written from one
/// scrape to the next, and writes over what has changed (see MetricSeries, PatchedText). One thread.
class MetricsPage {
 public:
  MetricsPage();

  /// The page as of this snapshot.
  http::SharedText render(const MetricsSnapshot& snapshot);

 private:
  /// The series of all exports, say, in the order of the view.
  class Owners {
   public:
    /// The series of that owner. Between two calls of end_round() each owner is asked for once; those that were not
    /// are forgotten then.
    MetricSeries& of(std::string_view name);
    void end_round();
    /// Whether all of them have their place in a text, one behind the other.
    bool are_laid_out() const;
    void lay_out(PatchedText& text, std::size_t metric);
    void patch(PatchedText& text);

   private:
    std::vector<MetricSeries> series_;
    std::size_t next_ = 0;
    bool laid_out_ = false;  // nobody has come, gone or changed places since
  };

  void update(const MetricsSnapshot& snapshot);
  void lay_out();

  std::vector<std::string> headers_;  // by metric
  MetricSeries gateway_;              // of the gateway as a whole
  Owners shards_;
  Owners exports_;
  Owners sessions_;
  PatchedText text_;
};

}  // namespace nbdgw::admin
