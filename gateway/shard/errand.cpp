#include "gateway/shard/errand.hpp"

namespace nbdgw::shard {

using initiator::SessionState;

void Errand::send(Shard& shard, net::Resolver& resolver, EventLog& events, SessionDriver& sender,
                  const initiator::PortalGroup& group, proto::Micros now) {
  if (shard.host().removing()) return;
  shard.add_chore(std::make_unique<Errand>(shard, resolver, events, sender, group, now));
}

Errand::Errand(Shard& shard, net::Resolver& resolver, EventLog& events, SessionDriver& sender,
               const initiator::PortalGroup& group, proto::Micros now)
    : shard_(shard),
      sender_(sender.weak()),
      group_(group),
      session_(shard.host().add_errand(sender.session(), group, now)),
      driver_(std::make_unique<SessionDriver>(shard, resolver, events, session_, true)) {
  shard.add_station(*driver_);
}

bool Errand::advance(proto::Micros now) {
  if (!reported_) {
    const SessionState state = session_.state();
    const bool under_way = state == SessionState::free || state == SessionState::logging_in;
    if (under_way && is_wanted()) return false;
    report(state == SessionState::logged_in, now);
    if (!session_.stopping()) session_.teardown(now);
  }
  if (session_.state() != SessionState::terminated) return false;
  shard_.remove_station(*driver_);
  driver_.reset();
  shard_.host().erase(session_);
  return true;
}

/// The sender may be on its way there itself by now, and the two logins would end each other's sessions.
bool Errand::is_wanted() const {
  const std::shared_ptr<SessionDriver> sender = sender_.lock();
  return sender != nullptr && sender->session().state() == SessionState::logged_in &&
         !initiator::same_group(sender->session().group(), group_);
}

void Errand::report(bool reinstated, proto::Micros now) {
  reported_ = true;
  const std::shared_ptr<SessionDriver> sender = sender_.lock();
  if (sender == nullptr) return;
  sender->session().errand_over(reinstated ? &group_ : nullptr, now);
}

}  // namespace nbdgw::shard
