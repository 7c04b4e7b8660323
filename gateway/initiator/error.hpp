#pragma once

#include <cstdint>
#include <string>

namespace nbdgw::initiator {

/// Why a connection was given up. After the list that iSCSI initiators share, with names instead of
/// bare numbers. At ErrorRecoveryLevel 0 each of them costs the session its connections.
enum class ConnectionError : std::uint8_t {
  none,
  // the peer broke the protocol
  data_sn,      // Data-In out of sequence
  r2t_sn,       // R2T out of sequence
  stat_sn,      // a status was lost
  data_offset,  // data beyond the end of the transfer
  data_length,  // longer than negotiated, or of a length that makes no sense
  ahs_length,
  bad_opcode,
  bad_itt,           // names no task of ours
  wrong_connection,  // answers a task on a connection that does not hold it
  protocol,          // anything else
  header_digest,
  data_digest,
  rejected,  // the target rejected a PDU that we cannot do without
  // the transport
  connect_failed,
  closed_by_peer,
  transmit_failed,
  nop_timed_out,
  login_timed_out,
  logout_timed_out,
  // login
  login_refused,
  login_negotiation,  // keys missing or absurd
  authentication,     // the target did not prove itself, or asks for what we cannot do
  redirected,
  // on demand
  logout,          // after a Logout, ours or one the target asked for
  asked_to_drop,   // asynchronous message
  dropped,         // by an operator
  portal_left,     // the LUNs that are in use cannot be used over it
  session_reset,   // the last rung of the escalation ladder
  session_failed,  // another connection of the session failed
};

/// The name for logs and metrics, for example "data_sn".
const char* to_string(ConnectionError error) noexcept;

/// One sentence for people, without a period at the end.
const char* describe(ConnectionError error) noexcept;
/// The same with what is known beside it, if anything.
std::string describe(ConnectionError error, const std::string& detail);

}  // namespace nbdgw::initiator
