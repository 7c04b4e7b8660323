#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "proto/time.hpp"

namespace nbdgw::proto {

/// Upper bounds (inclusive) of all duration histograms, in microseconds: 50 us to 120 s.
inline constexpr std::array<Micros, 18> kDurationBuckets{
    50,     100,     250,     500,     1'000,     2'500,     5'000,      10'000,     25'000,
    50'000, 100'000, 250'000, 500'000, 1'000'000, 5'000'000, 15'000'000, 60'000'000, 120'000'000};

/// How long something took, counted in fixed buckets. Plain numbers of one thread; adding is a handful of
/// instructions without a loop, fit for the data path.
class DurationHistogram {
 public:
  /// One for each bound, and the last one for what is longer than all of them.
  static constexpr std::size_t kBuckets = kDurationBuckets.size() + 1;

  void add(Micros duration) noexcept {
    const Micros length = std::max<Micros>(duration, 0);
    ++buckets_[bucket_of(length)];
    sum_ += length;
  }

  /// Of each bucket on its own, not cumulative.
  const std::array<std::uint64_t, kBuckets>& buckets() const noexcept { return buckets_; }
  std::uint64_t count() const noexcept { return std::accumulate(buckets_.begin(), buckets_.end(), std::uint64_t{0}); }
  /// Of all durations.
  Micros sum() const noexcept { return sum_; }

  friend bool operator==(const DurationHistogram&, const DurationHistogram&) = default;

 private:
  /// Durations of one bit width lie in one bucket or its neighbour: the bounds are at least a factor of two apart.
  static std::size_t bucket_of(Micros duration) noexcept {
    const std::size_t first = kFirst[std::bit_width(static_cast<std::uint64_t>(duration))];
    return first + (duration > kBounds[first] ? 1 : 0);
  }

  static constexpr std::array<Micros, kBuckets> kBounds = [] {
    std::array<Micros, kBuckets> bounds{};
    std::copy(kDurationBuckets.begin(), kDurationBuckets.end(), bounds.begin());
    bounds.back() = kNever;
    return bounds;
  }();
  static_assert([] {
    for (std::size_t i = 1; i < kDurationBuckets.size(); ++i)
      if (kDurationBuckets[i] < 2 * kDurationBuckets[i - 1]) return false;
    return true;
  }());

  /// By bit width: the bucket of the shortest such duration.
  static constexpr std::array<std::uint8_t, 65> kFirst = [] {
    std::array<std::uint8_t, 65> first{};
    for (std::size_t width = 1; width < first.size(); ++width) {
      const std::uint64_t shortest = 1ULL << (width - 1);
      while (static_cast<std::uint64_t>(kBounds[first[width]]) < shortest && first[width] + 1U < kBuckets)
        ++first[width];
    }
    return first;
  }();

  std::array<std::uint64_t, kBuckets> buckets_{};
  Micros sum_ = 0;
};

}  // namespace nbdgw::proto
