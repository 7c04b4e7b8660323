#include "gateway/shard/nbd_client.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "gateway/net/tcp_options.hpp"
#include "gateway/shard/event_log.hpp"
#include "gateway/shard/export_slot.hpp"
#include "gateway/shard/shard.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::shard {

NbdClient::NbdClient(std::uint64_t id, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket,
                     nbd::ExportDirectoryPtr directory, const nbd::ConnectionOptions& options, proto::Micros now)
    : id_(id),
      born_at_(now),
      ticket_(std::move(ticket)),
      socket_(std::move(fd)),
      peer_(net::peer_text(socket_.native())),
      engine_(std::move(directory), options, now) {
  net::set_tcp_options(socket_.native());
  engine_.set_bell(&bell_);
}

NbdClient::NbdClient(std::uint64_t id, KeptClient kept, net::ConnectionLimit::Ticket ticket,
                     const nbd::ConnectionOptions& options, proto::Micros now)
    : id_(id),
      born_at_(now),
      ticket_(std::move(ticket)),
      socket_(std::move(kept.fd)),
      peer_(net::peer_text(socket_.native())),
      engine_(std::move(kept.connection), options, now),
      resumes_(true) {
  engine_.set_bell(&bell_);
}

NbdClient::~NbdClient() = default;

void NbdClient::enter(Shard& shard, proto::Micros now) {
  shard_ = &shard;
  state_ = State::open;
  watch_ = net::PeerWatch(shard.peer_silence());
  watch_.sent(now);  // on another shard, or by the process before
  if (!socket_.watch(shard.poller(), EPOLLIN | EPOLLRDHUP, *this))
    close(now, "Cannot wait for its socket: " + socket_.error_text());
  const auto wanted = resumes_ ? engine_.wants_export() : std::nullopt;
  if (!wanted) return;
  ExportSlot* const slot = shard.find_export(*wanted);
  nbd::Backend* const backend = slot != nullptr ? slot->coming_backend() : nullptr;
  if (backend != nullptr) engine_.expect_export(*backend);
}

void NbdClient::forgo(const ExportSlot& slot) noexcept {
  if (resumes_ && engine_.wants_export() == slot.name()) engine_.forgo_export();
}

void NbdClient::on_ready(std::uint32_t events, proto::Micros now) {
  if (state_ == State::lingering) discard_input();
  if (state_ == State::open && (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) look_for_the_end();
  if (state_ == State::open && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
    if (socket_.wants_read() && !gone_) {
      receive(now);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      gone_ = true;  // by a reset, or the peer has closed both ways and takes no replies any more
      socklen_t length = sizeof lost_;
      ::getsockopt(socket_.native(), SOL_SOCKET, SO_ERROR, &lost_, &length);
    }
  }
  if (state_ != State::closed) bell_.ring();
}

net::Transfer NbdClient::receive(proto::Micros now) {
  const net::Transfer result = socket_.receive(engine_, now);
  switch (result) {
    case net::Transfer::done:
    case net::Transfer::more:  // level-triggered: comes again
    case net::Transfer::engine_full:
      break;
    case net::Transfer::ended:
      ended_ = true;
      break;
    case net::Transfer::failed:
      ended_ = true;
      lost_ = socket_.error();
      break;
  }
  return result;
}

/// The peer sends nothing more. What it has sent before may all lie unread yet: a UNIX socket tells of the end at
/// once, TCP only behind it. How that ends says whether the peer has left, or was lost.
void NbdClient::look_for_the_end() {
  if (std::exchange(told_of_end_, true)) return;
  std::array<std::uint8_t, proto::nbd::kRequestLength> last;
  std::size_t unread = 0;
  const std::size_t shown = socket_.peek_last(last, unread);
  if (engine_.ends_in_goodbye(unread, std::span(last).first(shown)) || NBDGW_MUTANT(lost_clients_still_write)) return;
  gone_ = true;
  engine_.on_peer_lost();
}

/// The peer is gone. What it sent before a goodbye is done all the same.
void NbdClient::do_the_rest(proto::Micros now) {
  look_for_the_end();
  if (socket_.is_watched()) {
    socket_.unwatch();  // its end would be told in every turn
    leave_by_ = std::min(leave_by_, now + kLeftBehind);
  }
  gone_ = true;
  engine_.on_peer_gone(ended_, now);
  ended_ = ended_ || engine_.input_ended();
  if (ended_) return;
  const std::uint64_t before = engine_.counters().bytes_received;
  const net::Transfer result = receive(now);
  const bool came = engine_.counters().bytes_received != before;
  ended_ = ended_ || (result == net::Transfer::done && !came);
}

void NbdClient::discard_input() {
  char scratch[16 * 1024];
  const ssize_t n = ::recv(socket_.native(), scratch, sizeof scratch, MSG_DONTWAIT);
  if (n > 0) discarded_ += static_cast<std::size_t>(n);
  ended_ = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || discarded_ > kLingerBytes;
}

void NbdClient::on_bell(void* client) noexcept {
  NbdClient& self = *static_cast<NbdClient*>(client);
  if (self.shard_ != nullptr) self.shard_->touch(self);  // else it is about to come to one
}

void NbdClient::serve(proto::Micros now) {
  bell_.hush();
  look(now);
  bell_.listen();
  // What has left may have made way for a request that finds no room, or for an option that names an export; the
  // socket may take more in the next turn; and so on.
  if (wants_turn()) bell_.ring();
}

bool NbdClient::wants_turn() const noexcept {
  if (state_ == State::lingering) return ended_;
  if (state_ != State::open) return false;
  if (engine_.wants_close() || engine_.parked() ||
      (engine_.stalled() && !stalled_ && !NBDGW_MUTANT(stall_seen_before_send)))
    return true;
  if (waits_for_export_ ? export_has_come() : engine_.wants_export().has_value()) return true;
  if (ended_ && !engine_.input_ended()) return true;
  if (gone_) return !engine_.peer_gone() || engine_.wants_tx() || (!ended_ && engine_.wants_rx());
  return (engine_.wants_tx() && !socket_.wants_write()) || (engine_.wants_rx() && !socket_.wants_read());
}

void NbdClient::look(proto::Micros now) {
  if (state_ == State::lingering && ended_) close(now, {});
  if (state_ != State::open) return;
  if (!settle_export(now)) return;  // on its way to another shard
  if (gone_ || ended_) do_the_rest(now);
  const bool stalled_before = engine_.stalled();
  if (!gone_) send(now);
  if (engine_.stalled() && !stalled_ && (stalled_before || !NBDGW_MUTANT(stall_seen_before_send))) {
    stalled_ = true;
    shard_->stall(*this);
  }
  if (engine_.wants_close()) {
    finish(now);
  } else if (engine_.parked()) {
    park();
  } else {
    update_reading();
  }
}

bool NbdClient::settle_export(proto::Micros now) {
  waits_for_export_ = false;
  while (const auto wanted = engine_.wants_export()) {
    ExportSlot* slot = shard_->find_export(*wanted);
    if (slot == nullptr) {
      const ExportPlace* place = shard_->place_of(*wanted);
      if (place != nullptr && place->shard == nullptr) {
        engine_.export_waiting("the configuration of export " + std::string(*wanted) + " is being changed");
        waits_for_export_ = true;
        return true;
      }
      if (place == nullptr || place->shard == shard_) {
        tell_refusal(Refusal::no_export, *wanted, now);
        engine_.export_unknown("there is no export of this name; nbdinfo --list shows those there are", now);
        continue;
      }
      move_to(*place->shard);
      return false;
    }
    if (refuse_new(*slot, now)) continue;
    nbd::Backend* backend = slot->backend();
    if (backend == nullptr) {
      engine_.export_waiting(slot->waiting_reason());
      waits_for_export_ = true;
      return true;
    }
    engine_.export_found(*backend, now);
    if (engine_.backend() != nullptr) {
      slot_ = slot;
      ++slot_->past_clients().attached;
      tell_attached();
    }
  }
  return true;
}

/// That it waits for: settle_export() would go on.
bool NbdClient::export_has_come() const noexcept {
  const auto wanted = engine_.wants_export();
  if (!wanted) return false;
  ExportSlot* const slot = shard_->find_export(*wanted);
  if (slot != nullptr) return slot->backend() != nullptr || !takes_new(*slot);
  const ExportPlace* const place = shard_->place_of(*wanted);
  return place == nullptr || place->shard != nullptr;
}

bool NbdClient::takes_new(const ExportSlot& slot) const noexcept {
  return resumes_ || (shard_->takes_clients() && slot.admin_state() == AdminState::ready);
}

/// Operators may want no new clients, of this export or of any.
bool NbdClient::refuse_new(const ExportSlot& slot, proto::Micros now) {
  if (takes_new(slot)) return false;
  if (!shard_->takes_clients()) {
    tell_refusal(Refusal::drained, slot.name(), now);
    engine_.export_shut("the gateway is being drained and takes no new clients", now);
  } else {
    const char* const state = slot.admin_state() == AdminState::maint ? " is in maintenance" : " is being drained";
    tell_refusal(Refusal::closed, slot.name(), now);
    engine_.export_shut("export " + slot.name() + state + " and takes no new clients", now);
  }
  return true;
}

void NbdClient::tell_refusal(Refusal reason, std::string_view exported, proto::Micros now) {
  if (shard_->events() != nullptr) shard_->events()->client_refused(reason, std::string(exported), peer_, now);
}

void NbdClient::move_to(Shard& target) {
  socket_.unwatch();
  state_ = State::moving;
  shard_->leave(*this, &target);
}

bool NbdClient::retry_room(proto::Micros now) {
  if (state_ == State::open) {
    engine_.on_room(now);
    if (engine_.stalled()) return true;
  }
  stalled_ = false;
  return false;
}

void NbdClient::send(proto::Micros now) {
  const std::uint64_t sent_before = engine_.counters().bytes_sent;
  if (socket_.send(engine_, now) == net::Transfer::failed) {
    gone_ = true;
    lost_ = socket_.error();
  }
  if (engine_.counters().bytes_sent != sent_before) watch_.sent(now);
}

void NbdClient::look_at_peer(proto::Micros now) {
  if (gone_ || !watch_.look(socket_.native(), now) || NBDGW_MUTANT(dead_hosts_kept)) return;
  gone_ = true;
  engine_.on_peer_dead();
}

void NbdClient::update_reading() {
  iovec room[proto::kRxIovecs];
  socket_.want_read(engine_.rx_buffers(room) > 0, !told_of_end_);
  socket_.expect(engine_.payload_left());
}

void NbdClient::begin_drain(proto::Micros now) {
  if (state_ == State::open) engine_.begin_drain(now);
}

void NbdClient::begin_handover(proto::Micros now) {
  if (state_ == State::open) engine_.begin_handover(now);
}

bool NbdClient::pass_on(std::size_t& most, proto::Micros now) {
  if (state_ != State::open || gone_ || ended_ || !engine_.pass_on(most, now)) return false;
  park();
  return true;
}

void NbdClient::park() {
  state_ = State::parked;
  socket_.unwatch();
}

KeptClient NbdClient::kept() {
  NBDGW_ASSERT(state_ == State::parked, "only what has come to rest is kept");
  return {.fd = socket_.take_fd(), .connection = engine_.kept(), .iqn = {}, .lun = 0};
}

void NbdClient::send_away(proto::Micros limit, proto::Micros now) {
  if (state_ != State::open) return;
  engine_.begin_drain(now);
  leave_by_ = std::min(leave_by_, now + limit);
  bell_.ring();
}

proto::Micros NbdClient::next_deadline() const noexcept {
  switch (state_) {
    case State::open:
      return std::min({leave_by_, engine_.next_deadline(), gone_ ? proto::kNever : watch_.next_look()});
    case State::lingering:
      return linger_until_;
    case State::moving:
    case State::parked:
    case State::closed:
      break;
  }
  return proto::kNever;
}

void NbdClient::on_deadline(proto::Micros now) {
  if (state_ == State::open) {
    const std::string waited_for(waits_for_export_ && in_handshake() ? engine_.wants_export().value_or("") : "");
    engine_.on_deadline(now);
    if (!waited_for.empty() && !engine_.wants_export()) tell_refusal(Refusal::offline, waited_for, now);
    if (now >= watch_.next_look()) look_at_peer(now);
    if (now >= leave_by_)
      close(now, gone_ ? "It has gone, and what it had asked for was not done in time."
                       : "It was sent away, and did not finish in time.");
  }
  if (state_ == State::lingering) ended_ = true;
}

}  // namespace nbdgw::shard
