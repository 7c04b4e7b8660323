#pragma once

#include <algorithm>
#include <cstddef>

#include "gateway/bridge/limits.hpp"
#include "proto/random.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// When which export of a session has its capacity read again: all in turn, one at a time, each about once in
/// kCapacityPoll, and not in step with other sessions.
class CapacityRounds {
 public:
  explicit CapacityRounds(proto::RandomSource& random) : random_(random) {}

  /// There are so many exports now.
  void plan(std::size_t exports, proto::Micros now) { next_ = exports == 0 ? proto::kNever : now + pause(exports); }
  proto::Micros next_deadline() const noexcept { return next_; }
  /// At next_deadline(): not now, but soon.
  void postpone(proto::Micros now) noexcept { next_ = now + kLeastCapacityPause; }
  /// At next_deadline(): whose turn it is, below `exports` > 0.
  std::size_t take(std::size_t exports, proto::Micros now) {
    plan(exports, now);
    turn_ = turn_ + 1 < exports ? turn_ + 1 : 0;
    return turn_;
  }

 private:
  /// Three to five quarters of its share of the time.
  proto::Micros pause(std::size_t exports) {
    const proto::Micros share = std::max(kCapacityPoll / static_cast<proto::Micros>(exports), kLeastCapacityPause);
    return share * 3 / 4 + proto::random_below(random_, static_cast<std::uint32_t>(share / 2));
  }

  proto::RandomSource& random_;
  proto::Micros next_ = proto::kNever;
  std::size_t turn_ = 0;
};

}  // namespace nbdgw::bridge
