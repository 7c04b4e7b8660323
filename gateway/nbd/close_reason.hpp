#pragma once

#include <cstddef>
#include <cstdint>

namespace nbdgw::nbd {

/// Why a connection was, or is to be, closed. For the log, and as the label of a counter.
enum class CloseReason : std::uint8_t {
  none,
  // The client's wish, or ours, in good order.
  disc,          // NBD_CMD_DISC
  client_abort,  // NBD_OPT_ABORT
  drained,       // shutdown: everything in flight was answered
  // The handshake went wrong.
  handshake_timeout,
  bad_client_flags,
  bad_option_magic,
  option_too_long,
  too_many_options,
  export_name_invalid,      // NBD_OPT_EXPORT_NAME, which knows no error reply
  export_name_unknown,      // the same
  export_name_at_shutdown,  // the same
  // The transmission went wrong.
  bad_request_magic,
  payload_too_long,
  export_gone,
  send_timeout,  // replies of a connection that is to be closed were not taken
  stalled,       // owed the next move, while others waited for what it held
  // A client that a process before this one has left could not go on.
  resume_timeout,  // its export did not come
  resume_refused,  // its export is not what the client knows
  // The peer closed, or the network failed.
  peer_dead,  // its host left what was sent to it unanswered
  silent,     // it never said a word: a health check, perhaps
  connection_lost,
};

inline constexpr std::size_t kCloseReasons = static_cast<std::size_t>(CloseReason::connection_lost) + 1;

/// A short name in snake_case: the value of a metric's label.
const char* name_of(CloseReason reason) noexcept;

/// A sentence for the log: what happened and, where there is something to do, what to do.
const char* describe(CloseReason reason) noexcept;

}  // namespace nbdgw::nbd
