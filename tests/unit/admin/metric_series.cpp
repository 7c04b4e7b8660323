// Time series as text, held against prometheus-cpp's own serializer.
#include "gateway/admin/metric_series.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <random>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using namespace nbdgw::admin;
using namespace nbdgw::http;
using nbdgw::proto::DurationHistogram;
using nbdgw::proto::kDurationBuckets;
namespace prom = prometheus;

namespace {

prom::MetricFamily family_of(const Metric& metric) {
  const prom::MetricType types[] = {prom::MetricType::Counter, prom::MetricType::Gauge, prom::MetricType::Histogram};
  return {std::string(metric.name), std::string(metric.help), types[static_cast<std::size_t>(metric.kind)], {}};
}

/// What the serializer writes for the same values.
class Reference {
 public:
  explicit Reference(const Metric& metric) : family_(family_of(metric)) {}

  void add(std::vector<prom::ClientMetric::Label> labels, double value) {
    prom::ClientMetric& series = family_.metric.emplace_back();
    series.label = std::move(labels);
    series.counter.value = series.gauge.value = value;
  }
  void add(std::vector<prom::ClientMetric::Label> labels, const DurationHistogram& durations) {
    prom::ClientMetric& series = family_.metric.emplace_back();
    series.label = std::move(labels);
    series.histogram.sample_count = durations.count();
    series.histogram.sample_sum = static_cast<double>(durations.sum()) / 1e6;
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < kDurationBuckets.size(); ++i) {
      below += durations.buckets()[i];
      series.histogram.bucket.push_back({below, static_cast<double>(kDurationBuckets[i]) / 1e6});
    }
  }
  /// With the header.
  std::string text() const { return prom::TextSerializer().Serialize({family_}); }

 private:
  prom::MetricFamily family_;
};

/// What a series writes, from one look to the next: all its metrics, each with its header, in the order given.
class Written {
 public:
  Written(MetricSeries& series, std::vector<const Metric*> metrics) : series_(series), metrics_(std::move(metrics)) {}

  std::string text() {
    if (!series_.is_laid_out()) {
      text_.clear();
      for (const Metric* metric : metrics_) {
        text_.append(metric_header(*metric));
        series_.lay_out(text_, index_of(*metric));
      }
    }
    series_.patch(text_);
    std::string all;
    for (const auto& piece : text_.share()) all += *piece;
    return all;
  }

 private:
  MetricSeries& series_;
  const std::vector<const Metric*> metrics_;
  PatchedText text_;
};

double any_value(std::mt19937_64& random) {
  switch (random() % 6) {
    case 0:
      return 0;
    case 1:
      return static_cast<double>(random() % 1000);
    case 2:
      return static_cast<double>(random() >> (random() % 64));
    case 3:
      return static_cast<double>(random() >> (random() % 64)) / 1e6;
    case 4:
      return std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 200) - 100);
    default:
      return -static_cast<double>(random() % 1000);
  }
}

}  // namespace

TEST_CASE("metric series: numbers are those of the serializer, to the byte") {
  const std::vector<double> values = {0,
                                      1,
                                      999'999'999'999'999,
                                      1e15,
                                      1e15 + 1,
                                      1e16,
                                      9.95,
                                      8.41,
                                      0.1,
                                      1.0 / 3,
                                      5e-05,
                                      1e-300,
                                      1.8e19,
                                      1e300,
                                      123456.789012,
                                      1795695420.01,
                                      -1,
                                      -0.5,
                                      4503599627370497.5,
                                      0.000001};
  MetricSeries series("vol0");
  Written written(series, {&metric::export_unflushed_writes});
  for (const double value : values) {
    CAPTURE(value);
    series.begin();
    series.put(metric::export_unflushed_writes, value);
    series.end();
    Reference reference(metric::export_unflushed_writes);
    reference.add({{"export", "vol0"}}, value);
    CHECK(written.text() == reference.text());
  }
}

TEST_CASE("metric series: whatever changes, the text is that of the serializer") {
  std::mt19937_64 random = nbdgw::test::seeded_random();
  MetricSeries series("target");
  Written written(series,
                  {&metric::iscsi_logins_total, &metric::recovery_duration_seconds, &metric::recovery_rungs_total});
  std::vector<double> logins(2), rungs(6);
  std::vector<DurationHistogram> durations(3);
  const char* const names[] = {"abort_task", "lu_reset", "relogin"};
  const char* const outcomes[] = {"success", "failure"};
  for (int round = 0; round < 300; ++round) {
    // Mostly nothing, sometimes one, sometimes everything.
    const auto changes = [&] { return random() % 8 < static_cast<unsigned>(round) % 9; };
    for (double& each : logins)
      if (changes()) each = any_value(random);
    for (double& each : rungs)
      if (changes()) each = any_value(random);
    for (DurationHistogram& each : durations)
      if (changes()) each.add(static_cast<nbdgw::proto::Micros>(random() >> (30 + random() % 34)));

    Reference login_reference(metric::iscsi_logins_total);
    Reference rung_reference(metric::recovery_rungs_total);
    Reference duration_reference(metric::recovery_duration_seconds);
    series.begin();
    for (std::size_t i = 0; i < logins.size(); ++i) {
      series.put(metric::iscsi_logins_total, logins[i], outcomes[i]);
      login_reference.add({{"session", "target"}, {"outcome", outcomes[i]}}, logins[i]);
    }
    for (std::size_t i = 0; i < durations.size(); ++i) {
      series.put(metric::recovery_duration_seconds, durations[i], names[i]);
      duration_reference.add({{"session", "target"}, {"rung", names[i]}}, durations[i]);
    }
    for (std::size_t i = 0; i < rungs.size(); ++i) {
      series.put(metric::recovery_rungs_total, rungs[i], names[i / 2], outcomes[i % 2]);
      rung_reference.add({{"session", "target"}, {"rung", names[i / 2]}, {"outcome", outcomes[i % 2]}}, rungs[i]);
    }
    series.end();
    CHECK(written.text() == login_reference.text() + duration_reference.text() + rung_reference.text());
  }
}

TEST_CASE("metric series: label values are escaped") {
  const std::string name = "a\"b\\c\nd{}=, e\u00e9";
  MetricSeries series(name);
  series.begin();
  series.put(metric::export_up, 1);
  series.put(metric::nbd_request_duration_seconds, DurationHistogram(), "x\"\\\ny");
  series.end();
  Reference up(metric::export_up);
  up.add({{"export", name}}, 1);
  CHECK(up.text().ends_with("{export=\"a\\\"b\\\\c\\nd{}=, e\u00e9\"} 1\n"));
  Reference durations(metric::nbd_request_duration_seconds);
  durations.add({{"export", name}, {"command", "x\"\\\ny"}}, DurationHistogram());
  Written written(series, {&metric::export_up, &metric::nbd_request_duration_seconds});
  CHECK(written.text() == up.text() + durations.text());
}

TEST_CASE("metric series: of the gateway as a whole, and of what is not there") {
  MetricSeries series;
  PatchedText nothing;
  series.lay_out(nothing, 0);
  CHECK(nothing.share().empty());  // before the first look
  series.begin();
  series.put(metric::ready, 1);
  series.put(metric::log_messages_total, 2, "warn");
  series.end();
  CHECK(Written(series, {&metric::ready, &metric::log_messages_total}).text() ==
        metric_header(metric::ready) + "nbdgw_ready 1\n" + metric_header(metric::log_messages_total) +
            "nbdgw_log_messages_total{level=\"warn\"} 2\n");
  series.lay_out(nothing, index_of(metric::draining));
  CHECK(nothing.share().empty());
}

TEST_CASE("metric series: another shape makes other series") {
  MetricSeries series("target");
  Written written(series, {&metric::iscsi_connection_up});
  const auto look = [&](std::size_t connections) {
    series.begin(connections);
    for (std::size_t i = 0; i < connections; ++i) series.put(metric::iscsi_connection_up, 1, std::to_string(i));
    series.end();
    return written.text();
  };
  CHECK(look(1).ends_with("{session=\"target\",cid=\"0\"} 1\n"));
  const std::string two = look(2);
  CHECK(
      two.ends_with("{session=\"target\",cid=\"0\"} 1\nnbdgw_iscsi_connection_up{session=\"target\",cid=\"1\"} 1\n"));
  CHECK(look(2) == two);
  CHECK(look(1).ends_with("{session=\"target\",cid=\"0\"} 1\n"));
  CHECK(look(0) == metric_header(metric::iscsi_connection_up));
}
