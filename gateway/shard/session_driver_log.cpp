// What the log is told of a session, beside its events (event_log.hpp).
#include "gateway/shard/session_driver.hpp"

namespace nbdgw::shard {

using initiator::SessionEvent;

net::log::Subject SessionDriver::subject() const noexcept {
  return {.target = net::log::target_in(session_.settings().label), .session = session_.tsih()};
}

/// What a target says again and again is counted, each of its sayings for itself, whatever stands between them.
/// `told`: of a state that begins or ends here (SessionStates), and so in the log already.
void SessionDriver::log(const SessionEvent& event, bool told) const {
  const std::string& label = session_.settings().label;
  const net::log::Subject who = subject();
  const std::string errand = label.substr(who.target.size());  // empty: this is the session itself
  const auto change = [&](const char* kind, net::log::Level level, const std::string& text) {
    net::log::changed(errand + kind, who, level, "target {}: {}", label, text);
  };
  switch (event.kind) {
    case SessionEvent::Kind::logged_in:
      if (!told) change("logged_in", net::log::Level::info, event.text);
      return;
    case SessionEvent::Kind::connection_joined:
      net::log::folded({"joined", net::log::kClientsAtOnce}, who, net::log::Level::info,
                       "target {}: connection {} {}", label, event.connection, event.text);
      return;
    case SessionEvent::Kind::lost:
      if (!told) change("lost", net::log::Level::warn, "session lost: " + event.text);
      return;
    case SessionEvent::Kind::terminated:
      return change("terminated", net::log::Level::info, "session " + event.text);
    case SessionEvent::Kind::login_failed:
      if (told) return;
      net::log::folded({net::log::shape(errand + "no session: " + event.text)}, who, net::log::Level::warn,
                       "target {}: no session yet: {}", label, event.text);
      return;
    case SessionEvent::Kind::unit_event:
    case SessionEvent::Kind::notice:
      net::log::folded({net::log::shape(errand + event.text)}, who, net::log::Level::warn, "target {}: {}", label,
                       event.text);
      return;
    case SessionEvent::Kind::unit_reset:
    case SessionEvent::Kind::unit_answer:
      return;
  }
}

}  // namespace nbdgw::shard
