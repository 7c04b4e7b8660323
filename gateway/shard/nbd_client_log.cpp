// What the log is told of an NBD client.
#include <fmt/format.h>

#include <numeric>

#include "gateway/net/log.hpp"
#include "gateway/shard/export_slot.hpp"
#include "gateway/shard/nbd_client.hpp"

namespace nbdgw::shard {
namespace {

std::uint64_t requests(const nbd::Counters& counters) {
  return std::accumulate(counters.requests.begin(), counters.requests.end(), std::uint64_t{0});
}

/// What a connection was that never became a client of an export.
net::log::Stranger stranger(nbd::CloseReason reason) noexcept {
  using nbd::CloseReason;
  switch (reason) {
    case CloseReason::silent:
      return net::log::Stranger::silent;
    case CloseReason::handshake_timeout:
    case CloseReason::bad_client_flags:
    case CloseReason::bad_option_magic:
    case CloseReason::option_too_long:
    case CloseReason::too_many_options:
    case CloseReason::export_name_invalid:
      return net::log::Stranger::hostile;
    default:
      return net::log::Stranger::left;
  }
}

}  // namespace

void NbdClient::tell_attached() const {
  net::log::folded({"attached", net::log::kClientsAtOnce}, {.exported = slot_->name(), .client = peer_},
                   net::log::Level::info, "{}: {} export {} ({} replies)", peer_,
                   resumes_ ? "after the restart goes on with" : "attached to", slot_->name(),
                   engine_.structured_replies() ? "structured" : "simple");
}

/// Why it ends, for the log.
std::string NbdClient::farewell() const {
  if (engine_.close_reason() != nbd::CloseReason::none) return nbd::describe(engine_.close_reason());
  return lost_ == 0 ? "The client closed the connection without a goodbye."
                    : "The connection is lost: " + net::error_text(lost_);
}

/// Operators want to know who was in the way of the others, and how.
void NbdClient::tell_debt() const {
  const nbd::Debt& debt = engine_.debt();
  std::string owed;
  if (debt.payload > 0) owed = fmt::format("{} bytes of a WRITE have not come", debt.payload);
  if (debt.replies > 0)
    owed += fmt::format("{}{} bytes of replies were not taken", owed.empty() ? "" : ", and ", debt.replies);
  net::log::folded({"stalled", net::log::kClientsAtOnce}, {.exported = slot_->name(), .client = peer_},
                   net::log::Level::warn,
                   "{}: export {}: {} for {} s, while others waited for memory or request slots: closed "
                   "(limits.stall_timeout)",
                   peer_, slot_->name(), owed, debt.lasted / proto::kSecond);
}

/// The end of a client is one line; whoever never was one is counted.
void NbdClient::tell_end(const std::string& why) const {
  const nbd::CloseReason reason = engine_.close_reason();
  if (slot_ != nullptr) {
    const nbd::Counters& counters = engine_.counters();
    net::log::folded({"detached", net::log::kClientsAtOnce}, {.exported = slot_->name(), .client = peer_},
                     net::log::Level::info,
                     "{}: detached from export {} after {} requests, {} bytes read, {} written. {}", peer_,
                     slot_->name(), requests(counters), counters.bytes_read, counters.bytes_written, why);
  } else if (resumes_) {
    net::log::folded({"not_resumed", net::log::kClientsAtOnce}, {.client = peer_}, net::log::Level::warn,
                     "{}: could not go on after the restart. {}", peer_, why);
  } else if (said_goodbye() || reason == nbd::CloseReason::drained) {
    net::log::debug({.client = peer_}, "{}: left before it attached. {}", peer_, why);
  } else {
    const bool silent = reason == nbd::CloseReason::silent;
    net::log::write_stranger(peer_, nbd::name_of(reason), silent ? nbd::describe(reason) : why, stranger(reason));
  }
}

}  // namespace nbdgw::shard
