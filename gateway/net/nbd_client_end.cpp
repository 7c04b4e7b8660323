// How an NBD client's connection ends, and what is said of it.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <numeric>

#include "gateway/net/export_slot.hpp"
#include "gateway/net/nbd_client.hpp"
#include "gateway/net/shard.hpp"

namespace nbdgw::net {
namespace {

std::uint64_t requests(const nbd::Counters& counters) {
  return std::accumulate(counters.requests.begin(), counters.requests.end(), std::uint64_t{0});
}

/// A client that says goodbye sends nothing more, so there is no input that a close could trip over.
bool said_goodbye(nbd::CloseReason reason) noexcept {
  return reason == nbd::CloseReason::disc || reason == nbd::CloseReason::client_abort;
}

}  // namespace

/// Why it ends, for the log.
std::string NbdClient::farewell() const {
  if (engine_.close_reason() != nbd::CloseReason::none) return nbd::describe(engine_.close_reason());
  return lost_ == 0 ? "The client closed the connection without a goodbye."
                    : "The connection is lost: " + error_text(lost_);
}

void NbdClient::finish(proto::Micros now) {
  const std::string why = farewell();
  if (gone_ || said_goodbye(engine_.close_reason()) || ::shutdown(socket_.native(), SHUT_WR) != 0) {
    close(now, why);
    return;
  }
  if (engine_.close_reason() == nbd::CloseReason::stalled) {
    tell_debt();
  } else {
    spdlog::info("{}: {}", peer_, why);
  }
  detach(now);
  state_ = State::lingering;
  linger_until_ = now + kLinger;
  socket_.set_interest(EPOLLIN);
}

/// Operators want to know who was in the way of the others, and how.
void NbdClient::tell_debt() const {
  const nbd::Debt& debt = engine_.debt();
  std::string owed;
  if (debt.payload > 0) owed = fmt::format("{} bytes of a WRITE have not come", debt.payload);
  if (debt.replies > 0)
    owed += fmt::format("{}{} bytes of replies were not taken", owed.empty() ? "" : ", and ", debt.replies);
  spdlog::warn(
      "{}: export {}: {} for {} s, while others waited for memory or request slots: closed "
      "(limits.stall_timeout)",
      peer_, slot_->name(), owed, debt.lasted / proto::kSecond);
}

/// The export is done with this client: nothing of it refers to the other any more.
void NbdClient::detach(proto::Micros now) {
  engine_.on_disconnected(now);
  shard_->count_close(engine_.close_reason());
  if (slot_ == nullptr) return;
  slot_->past_clients().counters += engine_.counters();
  slot_ = nullptr;
}

void NbdClient::cut_off(proto::Micros now, const std::string& why) {
  close(now, why);
}

void NbdClient::close(proto::Micros now, const std::string& why) {
  if (state_ == State::closed || state_ == State::moving || state_ == State::parked) return;
  const bool was_open = state_ == State::open;
  state_ = State::closed;
  linger_until_ = proto::kNever;
  socket_.close();
  if (was_open) {
    if (slot_ != nullptr) {
      const nbd::Counters& counters = engine_.counters();
      spdlog::info("{}: detached from export {} after {} requests, {} bytes read, {} written. {}", peer_,
                   slot_->name(), requests(counters), counters.bytes_read, counters.bytes_written, why);
    } else {
      spdlog::info("{}: left before it attached. {}", peer_, why);
    }
    detach(now);
  }
  shard_->leave(*this, nullptr);
}

}  // namespace nbdgw::net
