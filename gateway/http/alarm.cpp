#include "gateway/http/alarm.hpp"

#include <algorithm>

#include "gateway/net/clock.hpp"

namespace nbdgw::http {

namespace {

/// No timer runs for longer, so that one that was replaced by an earlier one is not kept for long.
constexpr proto::Micros kLongest = proto::kSecond;

}  // namespace

void Alarm::set(proto::Micros deadline) {
  deadline_ = std::min(deadline_, deadline);
  if (deadline_ < armed_for_) arm();
}

void Alarm::arm() {
  if (deadline_ == proto::kNever) return;
  const proto::Micros now = net::steady_now();
  const proto::Micros delay = std::clamp<proto::Micros>(deadline_ - now, 0, kLongest);
  if (armed_for_ <= now + delay) return;  // the timer that runs is early enough
  armed_for_ = now + delay;
  postbox_->post_after(delay, [this, number = ++number_] {
    if (number != number_) return;
    armed_for_ = proto::kNever;
    if (net::steady_now() < deadline_) return arm();
    deadline_ = proto::kNever;
    ring_();
  });
}

}  // namespace nbdgw::http
