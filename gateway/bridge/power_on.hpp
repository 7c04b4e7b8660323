#pragma once

#include <cstdint>

#include "gateway/bridge/limits.hpp"
#include "proto/mutant.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// What a unit attention "power on, reset, or bus device reset" (29/00, 29/02) is taken for.
enum class PowerOnPolicy : std::uint8_t {
  ignore,       // nothing: the cache survives
  unexplained,  // a lost cache, unless a reset or login of our own explains it
  always,       // a lost cache, right after a reset or login of our own, too
};

/// Judges such attentions. They are ambiguous: many targets raise one at every login and after every reset. Which of
/// that a target does is learnt from returns that we have caused ourselves, when its power was certainly on all the
/// time: one that has come back without raising any means a power cycle when it raises one later, however short the
/// target was away. A target that does raise one then stays ambiguous, and the length of the outage decides.
class PowerOnJudge {
 public:
  /// Survives the export (CacheLegacy). For logins and for resets apart: they are different code in the target.
  struct Learnt {
    bool login_is_silent = false;
    bool reset_is_silent = false;
  };

  void configure(PowerOnPolicy policy) noexcept { policy_ = policy; }
  const Learnt& learnt() const noexcept { return learnt_; }
  void restore(const Learnt& learnt) noexcept { learnt_ = learnt; }
  /// Another export of the session has the same LUN: what it has met, this one does not see.
  void set_alone(bool alone) noexcept { alone_ = alone; }

  /// `ours`: we have ended the session before ourselves. `outage`: how long the target may have been away.
  void on_login(bool ours, proto::Micros outage) noexcept {
    login_ = ours ? Return::ours : Return::of_others;
    reset_ = Return::none;  // what it has raised went with the session
    met_ = false;
    // Stays until the LUN has answered: a second login, or a reset, may come before that.
    power_cycle_possible_ = power_cycle_possible_ || outage >= kPowerCycleTime;
  }
  /// The LUN, or the target, was reset by us.
  void on_reset() noexcept {
    reset_ = Return::ours;
    met_ = false;
  }
  /// One was met. True: writes that were not flushed may be lost.
  bool on_attention() noexcept {
    met_ = true;
    return policy_ != PowerOnPolicy::ignore && !explained();
  }
  /// The LUN was probed. It has met all that there was: a target reports its unit attentions to the first command
  /// that can take them.
  void on_probed() noexcept {
    if (!met_ && alone_) {
      learnt_.login_is_silent = learnt_.login_is_silent || login_ == Return::ours;
      learnt_.reset_is_silent = learnt_.reset_is_silent || reset_ == Return::ours;
    }
    login_ = reset_ = Return::none;
    power_cycle_possible_ = false;
  }

  /// A reset or login of our own has raised unit attentions that were not met yet.
  bool expected() const noexcept { return login_ != Return::none || reset_ != Return::none; }
  bool explained() const noexcept {
    if (policy_ == PowerOnPolicy::always || power_cycle_possible_) return false;
    if (NBDGW_MUTANT(short_outage_explains)) return login_ != Return::none || reset_ != Return::none;
    return (login_ != Return::none && !learnt_.login_is_silent) ||
           (reset_ != Return::none && !learnt_.reset_is_silent);
  }

 private:
  enum class Return : std::uint8_t { none, of_others, ours };

  PowerOnPolicy policy_ = PowerOnPolicy::unexplained;
  Learnt learnt_;
  Return login_ = Return::none;  // not probed since
  Return reset_ = Return::none;
  bool met_ = false;  // since that
  bool power_cycle_possible_ = false;
  bool alone_ = true;
};

}  // namespace nbdgw::bridge
