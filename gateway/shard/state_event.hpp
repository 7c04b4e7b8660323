#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/time.hpp"

namespace nbdgw::shard {

/// A state of the gateway, or of a part of it, has begun or ended. What becomes of a LUN is bridge::CacheEvent.
struct StateEvent {
  enum class Kind : std::uint8_t {
    // Of a target's session.
    session_up,      // logged in for the first time
    session_lost,    // a login follows
    session_back,    // the end of session_lost
    login_failing,   // there is no session, and the first attempt at one has failed; ends with _up or _back
    session_stolen,  // the target ends our sessions soon after each login: there may be another one of our name
    session_ours,    // the end of session_stolen
    // Of an export.
    export_online,
    export_offline,
    // Of the gateway.
    listener_open,
    listener_closed,
    listener_failing,  // it cannot accept clients
    listener_back,     // the end of listener_failing
    clients_refused,   // one, or `count` since the last time that it was told
    drain_begun,       // of an export, or of all
    drain_ended,
    reload_done,
    reload_refused,
    stopping,
  };
  Kind kind{};
  std::string text;  // for people
  /// How long what has ended has lasted; of clients_refused: the time in which these came.
  std::optional<proto::Micros> duration{};
  std::uint64_t count = 0;       // clients_refused; reload_done: changes
  const char* reason = nullptr;  // clients_refused: why, in one word; static
};

/// "session_lost", as the API has it.
const char* to_string(StateEvent::Kind kind) noexcept;

/// Of a duration, for people: "0.3 s", "12.5 s", "7 min", "3.5 h", "12 d".
std::string lasted(proto::Micros duration);

}  // namespace nbdgw::shard
