#include "gateway/nbd/close_reason.hpp"

#include <array>

namespace nbdgw::nbd {
namespace {

struct Words {
  const char* name;
  const char* sentence;
};

constexpr std::array<Words, kCloseReasons> kWords{{
    {"none", "The connection is open."},
    {"disc", "The client disconnected in good order."},
    {"client_abort", "The client ended the handshake (ABORT)."},
    {"drained", "Sent away in good order: every request in flight was answered."},
    {"handshake_timeout", "The client did not finish the handshake in time; is it an NBD client?"},
    {"bad_client_flags", "The client set handshake flags that were not offered; is it an NBD client?"},
    {"bad_option_magic", "An option did not begin with IHAVEOPT: the stream is out of step, or it is no NBD client."},
    {"option_too_long", "The client sent an option whose data is longer than 64 KiB."},
    {"too_many_options", "The client sent more options than a handshake needs."},
    {"export_name_invalid", "EXPORT_NAME had a name that is too long or contains NUL, and knows no error reply."},
    {"export_name_unknown",
     "EXPORT_NAME named an export that does not exist or is not available, and knows no error reply; "
     "check the name the client uses, and the state of the export."},
    {"export_name_at_shutdown",
     "EXPORT_NAME came while the gateway or the export takes no new clients, and knows no error reply."},
    {"bad_request_magic", "A request had a wrong magic number: the stream is out of step."},
    {"payload_too_long", "A WRITE that had to be refused was too long to be read and dropped (more than 64 MiB)."},
    {"export_gone", "The export was taken away."},
    {"send_timeout", "The client stopped taking replies while the connection was to be closed."},
    {"stalled",
     "The client has neither sent what it has announced nor taken its replies, while others waited for what it held "
     "(limits.stall_timeout)."},
    {"resume_timeout", "Its export was not available in time after the gateway's restart."},
    {"resume_refused", "After the gateway's restart its export is not the disk that it was, or can do less."},
    {"peer_dead",
     "The client's host does not answer: nothing came for two minutes, though there was something to acknowledge."},
    {"silent", "The client closed the connection without having sent a byte: a health check, perhaps."},
    {"connection_lost", "The client closed the connection without a word, or the network failed."},
}};

}  // namespace

const char* name_of(CloseReason reason) noexcept {
  return kWords[static_cast<std::size_t>(reason)].name;
}

const char* describe(CloseReason reason) noexcept {
  return kWords[static_cast<std::size_t>(reason)].sentence;
}

}  // namespace nbdgw::nbd
