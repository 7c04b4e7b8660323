// How an NBD client's connection ends.
#include <sys/socket.h>

#include "gateway/shard/export_slot.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/shard.hpp"

namespace nbdgw::shard {

void NbdClient::finish(proto::Micros now) {
  const std::string why = farewell();
  if (gone_ || said_goodbye() || ::shutdown(socket_.native(), SHUT_WR) != 0) {
    close(now, why);
    return;
  }
  if (engine_.close_reason() == nbd::CloseReason::stalled) tell_debt();
  detach(now, why);
  state_ = State::lingering;
  linger_until_ = now + kLinger;
  socket_.set_interest(EPOLLIN);
}

/// The export is done with this client: nothing of it refers to the other any more.
void NbdClient::detach(proto::Micros now, const std::string& why) {
  engine_.on_disconnected(now);
  shard_->count_close(engine_.close_reason());
  tell_end(why);
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
  if (was_open) detach(now, why);
  shard_->leave(*this, nullptr);
}

}  // namespace nbdgw::shard
