#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/mutant.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// How long a client that holds what others wait for may owe the next move: the stall timeout (limits.stall_timeout),
/// and half of that after each that was closed for it. For those who wait are the same, and where many such clients
/// come one after the other, each would cost them the whole time.
class Patience {
 public:
  static constexpr std::uint32_t kMostHalvings = 3;
  /// What a client has in any case, if the timeout is not shorter: a host that is moved to another machine is silent
  /// for a second or two.
  static constexpr proto::Micros kLeast = 5 * proto::kSecond;

  /// `timeout`: more than 0.
  proto::Micros with_next(proto::Micros timeout, proto::Micros now) const noexcept {
    if (NBDGW_MUTANT(stalled_take_turns)) return timeout;
    return std::max(timeout >> halvings(timeout, now), std::min(timeout, kLeast));
  }
  void on_closed(proto::Micros timeout, proto::Micros now) noexcept {
    halvings_ = std::min(halvings(timeout, now) + 1, kMostHalvings);
    closed_at_ = now;
  }

 private:
  /// One is forgotten for each timeout in which nobody had to be closed.
  std::uint32_t halvings(proto::Micros timeout, proto::Micros now) const noexcept {
    const auto quiet = static_cast<std::uint64_t>(std::max<proto::Micros>(0, now - closed_at_) / timeout);
    return quiet >= halvings_ ? 0 : halvings_ - static_cast<std::uint32_t>(quiet);
  }

  std::uint32_t halvings_ = 0;
  proto::Micros closed_at_ = 0;
};

}  // namespace nbdgw::bridge
