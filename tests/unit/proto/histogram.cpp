#include "proto/histogram.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using nbdgw::proto::DurationHistogram;
using nbdgw::proto::kDurationBuckets;
using nbdgw::proto::Micros;

namespace {

/// The rule, written plainly: the first bound that is not shorter.
std::size_t expected_bucket(Micros duration) {
  const auto bound = std::ranges::find_if(kDurationBuckets, [&](Micros each) { return duration <= each; });
  return static_cast<std::size_t>(bound - kDurationBuckets.begin());
}

std::size_t bucket_of(Micros duration) {
  DurationHistogram histogram;
  histogram.add(duration);
  const auto& buckets = histogram.buckets();
  REQUIRE(histogram.count() == 1);
  return static_cast<std::size_t>(std::ranges::find(buckets, 1U) - buckets.begin());
}

}  // namespace

TEST_CASE("histogram: a bound belongs to its bucket, what is longer to the next") {
  for (std::size_t i = 0; i < kDurationBuckets.size(); ++i) {
    const Micros bound = kDurationBuckets[i];
    CAPTURE(bound);
    CHECK(bucket_of(bound - 1) == i);
    CHECK(bucket_of(bound) == i);
    CHECK(bucket_of(bound + 1) == i + 1);
  }
  CHECK(bucket_of(0) == 0);
  CHECK(bucket_of(nbdgw::proto::kNever) == DurationHistogram::kBuckets - 1);
}

TEST_CASE("histogram: every duration is in the bucket that a search finds") {
  for (Micros duration = 0; duration < 70'000; ++duration) {
    if (bucket_of(duration) != expected_bucket(duration)) FAIL(duration);
  }
  for (int width = 0; width < 63; ++width) {
    for (const Micros near : {-1, 0, 1}) {
      const Micros duration = std::max<Micros>((Micros{1} << width) + near, 0);
      CAPTURE(duration);
      CHECK(bucket_of(duration) == expected_bucket(duration));
    }
  }
}

TEST_CASE("histogram: adds up") {
  DurationHistogram histogram;
  CHECK(histogram.count() == 0);
  CHECK(histogram.sum() == 0);
  histogram.add(10);
  histogram.add(60);
  histogram.add(60);
  histogram.add(200'000'000);
  CHECK(histogram.buckets()[0] == 1);
  CHECK(histogram.buckets()[1] == 2);
  CHECK(histogram.buckets().back() == 1);
  CHECK(histogram.count() == 4);
  CHECK(histogram.sum() == 200'000'130);
}

TEST_CASE("histogram: a clock that goes backwards counts as no time at all") {
  DurationHistogram histogram;
  histogram.add(-5);
  CHECK(histogram.buckets()[0] == 1);
  CHECK(histogram.sum() == 0);
}
