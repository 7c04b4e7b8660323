// The watch over clients that owe the next move. It costs the requests nothing: there is one look at the end of each
// window, and only while there is something to look at.

#include <algorithm>

#include "gateway/nbd/connection.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::nbd {

/// It is on its way out: nothing more is read.
bool Connection::leaving() const noexcept {
  return phase_ == Phase::disconnecting || phase_ == Phase::closing;
}

/// A WRITE that we are ready to read has not come as far as it was announced. One that was refused without a request
/// holds nothing, and may take its time.
bool Connection::owes_payload() const noexcept {
  return rx_request_ != nullptr && !blocked_ && reads();
}

/// The client owes something, or may soon.
void Connection::begin_watch(proto::Micros now) noexcept {
  if (check_at_ != proto::kNever) return;
  look_at_debts(now);
  check_at_ = now + patience(now);
}

proto::Micros Connection::patience(proto::Micros now) const noexcept {
  return backend_ == nullptr ? stall_timeout_ : backend_->patience(stall_timeout_, now);
}

void Connection::look_at_debts(proto::Micros now) noexcept {
  payload_debt_.look(owes_payload(), counters_.bytes_received, now);
  reply_debt_.look(wants_tx(), counters_.bytes_sent, now);
}

/// The end of a window.
void Connection::keep_watch(proto::Micros now) {
  if (now < check_at_) return;
  const bool took_nothing = counters_.bytes_sent == sent_at_check_;
  sent_at_check_ = counters_.bytes_sent;
  if (leaving() && reply_debt_.stands() && took_nothing) return cut_off(CloseReason::send_timeout);
  look_at_debts(now);
  const proto::Micros may_owe = patience(now);
  if (stalls_others(may_owe, now)) {
    const bool payload = payload_debt_.age(now) >= may_owe;
    debt_ = {.payload = payload ? rx_left_ : 0,
             .replies = reply_debt_.age(now) >= may_owe ? replies_.unsent_bytes() : 0,
             .lasted = payload ? payload_debt_.age(now) : reply_debt_.age(now)};
    backend_->closed_for_stalling(stall_timeout_, now);
    return cut_off(CloseReason::stalled);
  }
  check_at_ = leaving() ? now + options_.send_timeout
                        : std::min(payload_debt_.next_look(may_owe, now), reply_debt_.next_look(may_owe, now));
}

/// It holds what others wait for, and has had its time. Immediate replies hold nothing.
bool Connection::stalls_others(proto::Micros may_owe, proto::Micros now) const noexcept {
  return in_flight_.size() > 0 && !NBDGW_MUTANT(stalled_never_closed) &&
         (payload_debt_.age(now) >= may_owe || reply_debt_.age(now) >= may_owe) && backend_->others_wait(stake_);
}

/// It is no use to wait.
void Connection::cut_off(CloseReason reason) noexcept {
  cut_off_ = true;
  close_reason_ = reason;
  check_at_ = proto::kNever;
}

void Connection::set_stall_timeout(proto::Micros timeout, proto::Micros now) noexcept {
  stall_timeout_ = timeout;
  if (check_at_ != proto::kNever && !leaving()) check_at_ = std::min(check_at_, now + timeout);
  bell_.ring();
}

}  // namespace nbdgw::nbd
