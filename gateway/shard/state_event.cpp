#include "gateway/shard/state_event.hpp"

#include <fmt/format.h>

namespace nbdgw::shard {

const char* to_string(StateEvent::Kind kind) noexcept {
  using enum StateEvent::Kind;
  switch (kind) {
    case session_up:
      return "session_up";
    case session_lost:
      return "session_lost";
    case session_back:
      return "session_back";
    case login_failing:
      return "login_failing";
    case session_stolen:
      return "session_stolen";
    case session_ours:
      return "session_ours";
    case export_online:
      return "export_online";
    case export_offline:
      return "export_offline";
    case listener_open:
      return "listener_open";
    case listener_closed:
      return "listener_closed";
    case listener_failing:
      return "listener_failing";
    case listener_back:
      return "listener_back";
    case clients_refused:
      return "clients_refused";
    case drain_begun:
      return "drain_begun";
    case drain_ended:
      return "drain_ended";
    case reload_done:
      return "reload_done";
    case reload_refused:
      return "reload_refused";
    case stopping:
      return "stopping";
  }
  return "?";
}

std::string lasted(proto::Micros duration) {
  const double seconds = static_cast<double>(duration) / proto::kSecond;
  if (seconds < 1) return fmt::format("{:.3f} s", seconds);
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  if (seconds < 2 * 3600) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{:.1f} h", seconds / 3600);
  return fmt::format("{:.0f} d", seconds / 86400);
}

}  // namespace nbdgw::shard
