#include "gateway/initiator/error.hpp"

namespace nbdgw::initiator {
namespace {

struct Text {
  const char* name;
  const char* sentence;
};

Text text_of(ConnectionError error) noexcept {
  using enum ConnectionError;
  switch (error) {
    case none:
      return {"none", "no error"};
    case data_sn:
      return {"data_sn", "the target sent a Data-In PDU out of sequence"};
    case r2t_sn:
      return {"r2t_sn", "the target sent an R2T PDU out of sequence"};
    case stat_sn:
      return {"stat_sn", "a status from the target was lost (gap in StatSN)"};
    case data_offset:
      return {"data_offset", "the target addressed data beyond the end of the transfer"};
    case data_length:
      return {"data_length", "the target sent a PDU with an impossible data length"};
    case ahs_length:
      return {"ahs_length", "the target sent a PDU with an additional header we cannot take"};
    case bad_opcode:
      return {"bad_opcode", "the target sent a PDU with an unknown opcode"};
    case bad_itt:
      return {"bad_itt", "the target answered a task that does not exist"};
    case wrong_connection:
      return {"wrong_connection", "the target answered a task on the wrong connection"};
    case protocol:
      return {"protocol", "the target broke the iSCSI protocol"};
    case header_digest:
      return {"header_digest", "a PDU came with a wrong header digest"};
    case data_digest:
      return {"data_digest", "a PDU came with a wrong data digest"};
    case rejected:
      return {"rejected", "the target rejected a PDU"};
    case connect_failed:
      return {"connect_failed", "the TCP connection could not be made"};
    case closed_by_peer:
      return {"closed_by_peer", "the TCP connection was closed or reset"};
    case transmit_failed:
      return {"transmit_failed", "sending failed"};
    case nop_timed_out:
      return {"nop_timed_out", "the target did not answer a NOP-Out in time"};
    case login_timed_out:
      return {"login_timed_out", "the login was not finished in time"};
    case logout_timed_out:
      return {"logout_timed_out", "the target did not answer the logout in time"};
    case login_refused:
      return {"login_refused", "the target refused the login"};
    case login_negotiation:
      return {"login_negotiation", "the login negotiation failed"};
    case authentication:
      return {"authentication", "authentication failed"};
    case redirected:
      return {"redirected", "the target redirected the login"};
    case logout:
      return {"logout", "logged out"};
    case asked_to_drop:
      return {"asked_to_drop", "the target said that it drops the connection"};
    case dropped:
      return {"dropped", "dropped by an operator"};
    case portal_left:
      return {"portal_left", "the portal is left for another one"};
    case session_reset:
      return {"session_reset", "the escalation ladder dropped the session"};
    case session_failed:
      return {"session_failed", "another connection of the session failed"};
  }
  return {"unknown", "unknown error"};
}

}  // namespace

const char* to_string(ConnectionError error) noexcept {
  return text_of(error).name;
}
const char* describe(ConnectionError error) noexcept {
  return text_of(error).sentence;
}
std::string describe(ConnectionError error, const std::string& detail) {
  return std::string(describe(error)) + (detail.empty() ? "" : " (" + detail + ")");
}

}  // namespace nbdgw::initiator
