#include "gateway/http/alarm.hpp"

#include <algorithm>

#include "gateway/net/clock.hpp"

namespace nbdgw::http {

namespace {

/// No timer runs for longer, so that one that was replaced by an earlier one is not kept for long.
constexpr admin::proto::Micros kLongest = admin::proto::kSecond;

}  // namespace

void Alarm::set(admin::proto::Micros deadline) {
  deadline_ = std::min(deadline_, deadline);
  if (deadline_ < armed_for_) arm();
}

void Alarm::arm() {
  if (deadline_ == admin::proto::kNever) return;
  const admin::proto::Micros now = net::steady_now();
  const admin::proto::Micros delay = std::clamp<admin::proto::Micros>(deadline_ - now, 0, kLongest);
  if (armed_for_ <= now + delay) return;  // the timer that runs is early enough
  armed_for_ = now + delay;
  postbox_->post_after(delay, [this, number = ++number_] {
    if (number != number_) return;
    armed_for_ = admin::proto::kNever;
    if (net::steady_now() < deadline_) return arm();
    deadline_ = admin::proto::kNever;
    ring_();
  });
}

}  // namespace nbdgw::http
