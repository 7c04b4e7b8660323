#include "gateway/net/nbd_client.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <numeric>

#include "gateway/net/event_log.hpp"
#include "gateway/net/export_slot.hpp"
#include "gateway/net/shard.hpp"
#include "gateway/net/tcp_options.hpp"
#include "proto/assert.hpp"

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

NbdClient::NbdClient(std::uint64_t id, UniqueFd fd, ConnectionLimit::Ticket ticket, nbd::ExportDirectoryPtr directory,
                     const nbd::ConnectionOptions& options, proto::Micros now)
    : id_(id),
      born_at_(now),
      ticket_(std::move(ticket)),
      socket_(std::move(fd)),
      peer_(peer_text(socket_.native())),
      engine_(std::move(directory), *this, options, now) {
  set_tcp_options(socket_.native());
}

NbdClient::NbdClient(std::uint64_t id, KeptClient kept, ConnectionLimit::Ticket ticket,
                     const nbd::ConnectionOptions& options, proto::Micros now)
    : id_(id),
      born_at_(now),
      ticket_(std::move(ticket)),
      socket_(std::move(kept.fd)),
      peer_(peer_text(socket_.native())),
      engine_(std::move(kept.connection), *this, options, now),
      resumes_(true) {}

NbdClient::~NbdClient() = default;

void NbdClient::enter(Shard& shard, proto::Micros now) {
  shard_ = &shard;
  state_ = State::open;
  watch_ = PeerWatch(shard.peer_silence());
  watch_.sent(now);  // on another shard, or by the process before
  if (!socket_.watch(shard.poller(), EPOLLIN, *this))
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
  if (state_ == State::open && (events & EPOLLRDHUP) != 0 && !socket_.wants_read()) look_for_the_end();
  if (state_ == State::open && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
    if (!socket_.wants_read()) {
      // Reading is off, so this is a reset, or a peer that has closed both ways and takes no replies any more.
      gone_ = true;
      socklen_t length = sizeof lost_;
      ::getsockopt(socket_.native(), SOL_SOCKET, SO_ERROR, &lost_, &length);
    } else {
      receive(now);
    }
  }
  if (state_ != State::closed) shard_->touch(*this);
}

Transfer NbdClient::receive(proto::Micros now) {
  const Transfer result = socket_.receive(engine_, now);
  switch (result) {
    case Transfer::done:
    case Transfer::more:  // level-triggered: comes again
    case Transfer::engine_full:
      break;
    case Transfer::ended:
      ended_ = true;
      break;
    case Transfer::failed:
      ended_ = true;
      lost_ = socket_.error();
      break;
  }
  if (slot_ != nullptr) shard_->touch(slot_->station());
  return result;
}

/// The peer sends nothing more, and we do not read for now. Whoever went away in the middle of a WRITE is not to wait
/// for room to read the rest of it, which will not come.
void NbdClient::look_for_the_end() {
  told_of_end_ = true;
  int unread = 0;
  if (::ioctl(socket_.native(), FIONREAD, &unread) == 0 && unread >= 0) {
    ended_ = engine_.falls_short_with(static_cast<std::size_t>(unread));
  }
}

/// The peer is gone. What it sent before is done all the same, and may all lie unread yet: a UNIX socket tells of the
/// end at once, TCP only behind it.
void NbdClient::do_the_rest(proto::Micros now) {
  if (socket_.is_watched()) {
    socket_.unwatch();  // its end would be told in every turn
    leave_by_ = std::min(leave_by_, now + kLeftBehind);
  }
  gone_ = true;
  engine_.on_peer_gone(ended_, now);
  if (ended_) return;
  const std::uint64_t before = engine_.counters().bytes_received;
  const Transfer result = receive(now);
  const bool came = engine_.counters().bytes_received != before;
  ended_ = ended_ || (result == Transfer::done && !came);
  if (ended_ || came) shard_->touch(*this);  // else it goes on when something of it is done
}

void NbdClient::discard_input() {
  char scratch[16 * 1024];
  const ssize_t n = ::recv(socket_.native(), scratch, sizeof scratch, MSG_DONTWAIT);
  if (n > 0) discarded_ += static_cast<std::size_t>(n);
  ended_ = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || discarded_ > kLingerBytes;
}

void NbdClient::output_ready(nbd::Connection&) noexcept {
  shard_->touch(*this);
}

void NbdClient::serve(proto::Micros now) {
  if (state_ == State::lingering && ended_) close(now, {});
  if (state_ != State::open) return;
  if (!settle_export(now)) return;  // on its way to another shard
  if (gone_ || ended_) do_the_rest(now);
  if (!gone_) send(now);
  // Only now: what has left may have made way for a request that finds no room, or for an option that names an
  // export.
  if (engine_.stalled() && !stalled_) {
    stalled_ = true;
    shard_->stall(*this);
  }
  if (engine_.wants_export() && !waits_for_export_) shard_->touch(*this);
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
      note_attached();
      shard_->touch(slot_->station());  // requests may have come right behind the handshake
    }
  }
  return true;
}

/// Operators may want no new clients, of this export or of any.
bool NbdClient::refuse_new(const ExportSlot& slot, proto::Micros now) {
  if (resumes_) return false;
  if (!shard_->takes_clients()) {
    tell_refusal(Refusal::drained, slot.name(), now);
    engine_.export_shut("the gateway is being drained and takes no new clients", now);
  } else if (slot.admin_state() != AdminState::ready) {
    const char* const why = slot.admin_state() == AdminState::maint ? " is in maintenance" : " is being drained";
    tell_refusal(Refusal::closed, slot.name(), now);
    engine_.export_shut("export " + slot.name() + why + " and takes no new clients", now);
  } else {
    return false;
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

void NbdClient::note_attached() {
  ++slot_->past_clients().attached;
  spdlog::info("{}: {} export {} ({} replies)", peer_, resumes_ ? "after the restart goes on with" : "attached to",
               slot_->name(), engine_.structured_replies() ? "structured" : "simple");
}

bool NbdClient::retry_room(proto::Micros now) {
  if (state_ == State::open) {
    engine_.on_room(now);
    if (engine_.stalled()) return true;
    shard_->touch(*this);
    if (slot_ != nullptr) shard_->touch(slot_->station());
  }
  stalled_ = false;
  return false;
}

void NbdClient::send(proto::Micros now) {
  const std::uint64_t sent_before = engine_.counters().bytes_sent;
  switch (socket_.send(engine_, now)) {
    case Transfer::more:
      shard_->touch(*this);
      break;
    case Transfer::failed:
      gone_ = true;
      lost_ = socket_.error();
      shard_->touch(*this);
      break;
    case Transfer::done:
    case Transfer::engine_full:
    case Transfer::ended:
      break;
  }
  // What was sent has made room under the in-flight limit: requests that waited for it may have begun.
  if (slot_ != nullptr && engine_.counters().bytes_sent != sent_before) shard_->touch(slot_->station());
  if (engine_.counters().bytes_sent != sent_before) watch_.sent(now);
}

void NbdClient::look_at_peer(proto::Micros now) {
  if (gone_ || !watch_.look(socket_.native(), now)) return;
  gone_ = true;
  engine_.on_peer_dead(now);
}

void NbdClient::update_reading() {
  iovec room[kRxIovecs];
  socket_.want_read(engine_.rx_buffers(room) > 0, !told_of_end_);
  socket_.expect(engine_.payload_left());
}

void NbdClient::begin_drain(proto::Micros now) {
  if (state_ == State::open) engine_.begin_drain(now);
}

void NbdClient::begin_handover(proto::Micros now) {
  if (state_ == State::open) engine_.begin_handover(now);
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
  shard_->touch(*this);
}

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
  shard_->touch(slot_->station());
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
    engine_.on_deadline(now);
    if (now >= watch_.next_look()) look_at_peer(now);
    if (now >= leave_by_)
      close(now, gone_ ? "It has gone, and what it had asked for was not done in time."
                       : "It was sent away, and did not finish in time.");
  }
  if (state_ == State::lingering) ended_ = true;
}

}  // namespace nbdgw::net
