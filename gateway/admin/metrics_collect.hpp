#pragma once

#include "gateway/admin/metric_series.hpp"
#include "gateway/admin/metrics_page.hpp"
#include "gateway/shard/view.hpp"

/// From a view to the series of the catalogue: every series that is known to be possible is there, be it with 0, so
/// that rates and alerts see its first change.
namespace nbdgw::admin {

void collect(const shard::ExportView& view, MetricSeries& series);
void collect(const shard::SessionView& view, MetricSeries& series);
void collect(const shard::ShardView& view, MetricSeries& series);
/// What belongs to the gateway as a whole.
void collect(const MetricsSnapshot& snapshot, MetricSeries& series);

}  // namespace nbdgw::admin
