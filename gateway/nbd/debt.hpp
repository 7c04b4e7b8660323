#pragma once

#include <cstdint>

#include "proto/time.hpp"

namespace nbdgw::nbd {

/// What a client was closed for that owed the next move (CloseReason::stalled).
struct Debt {
  std::uint64_t payload = 0;  // bytes of a WRITE that it has announced and not sent
  std::uint64_t replies = 0;  // bytes of replies that it has not taken
  proto::Micros lasted = 0;   // for so long it has moved less than kLeastMove
};

/// What a client that owes the next move has to move in ConnectionOptions::stall_timeout, if it does not pay all of
/// its debt: below it, a byte now and then would do to hold what others wait for, for ever.
inline constexpr std::uint64_t kLeastMove = 64 * 1024;

/// Since when one kind of debt stands. It is looked at now and then only; what happens in between is seen from the
/// bytes that have moved, and told by interrupt().
class StandingDebt {
 public:
  /// It was paid, or was no debt for a while.
  void interrupt() noexcept { interrupted_ = true; }

  /// `moved`: bytes so far, of all that goes that way.
  void look(bool owes, std::uint64_t moved, proto::Micros now) noexcept {
    if (owes && stands() && moved - moved_ < kLeastMove) return;
    since_ = owes ? now : proto::kNever;
    moved_ = moved;
    interrupted_ = false;
  }

  /// It was there at the last look, and has been ever since.
  bool stands() const noexcept { return since_ != proto::kNever && !interrupted_; }
  /// For how long less than kLeastMove has moved; 0 where there is none.
  proto::Micros age(proto::Micros now) const noexcept { return stands() ? now - since_ : 0; }
  /// When it will be so old, or, where it is already, in so long a time; proto::kNever: there is none.
  proto::Micros next_look(proto::Micros timeout, proto::Micros now) const noexcept {
    if (!stands()) return proto::kNever;
    return age(now) < timeout ? since_ + timeout : now + timeout;
  }

 private:
  proto::Micros since_ = proto::kNever;
  std::uint64_t moved_ = 0;
  bool interrupted_ = false;
};

}  // namespace nbdgw::nbd
