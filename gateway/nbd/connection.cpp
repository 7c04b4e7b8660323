#include "gateway/nbd/connection.hpp"

#include <algorithm>

#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::nbd {

using proto::nbd::Command;
using proto::nbd::Error;

Connection::Connection(ExportDirectoryPtr directory, const ConnectionOptions& options, proto::Micros now)
    : options_(options), now_(now), staging_(kStagingLength), stall_timeout_(options.stall_timeout) {
  NBDGW_ASSERT(options.max_in_flight > 0, "a connection may have at least one request in flight");
  handshake_ =
      std::make_unique<Handshake>(std::move(directory), handshake_output_, counters_, options.handshake_timeout, now);
}

Connection::~Connection() {
  NBDGW_ASSERT(in_flight_.size() == 0, "on_disconnected() comes before the end");
}

namespace {

/// Which phase may follow which. Every pair is decided here.
constexpr bool may_follow(Connection::Phase from, Connection::Phase to) noexcept {
  using Phase = Connection::Phase;
  switch (from) {
    case Phase::handshake:
      return to == Phase::transmission || to == Phase::closing || to == Phase::closed;
    case Phase::resuming:
      return to == Phase::transmission || to == Phase::parting || to == Phase::closing || to == Phase::closed;
    case Phase::transmission:
      return to == Phase::parting || to == Phase::draining || to == Phase::disconnecting || to == Phase::closing ||
             to == Phase::closed;
    case Phase::parting:
    case Phase::draining:
    case Phase::disconnecting:
      return to == Phase::closing || to == Phase::closed;
    case Phase::closing:
      return to == Phase::closed;
    case Phase::closed:
      break;
  }
  return false;
}

}  // namespace

void Connection::enter(Phase phase, CloseReason reason) {
  NBDGW_ASSERT(may_follow(phase_, phase), "the phases of a connection follow each other");
  phase_ = phase;
  if (reason != CloseReason::none) close_reason_ = reason;
  if (leaving()) {
    check_at_ = now_ + options_.send_timeout;
    sent_at_check_ = counters_.bytes_sent;
  } else if (phase == Phase::closed) {
    check_at_ = proto::kNever;
  }
  resume_by_ = proto::kNever;  // nothing leads back to resuming
  if (!reads()) stake_.leave();
}

bool Connection::wants_tx() const noexcept {
  return !handshake_sending_.empty() || !handshake_output_.empty() || !replies_.empty();
}

// ---- sending
// --------------------------------------------------------------------------------------------------------

std::size_t Connection::tx_buffers(std::span<iovec> out) {
  if (phase_ == Phase::closed || out.empty()) return 0;
  if (handshake_sending_.empty()) handshake_sending_.swap(handshake_output_);
  if (!handshake_sending_.empty()) {
    out[0] = {handshake_sending_.data() + handshake_sent_, handshake_sending_.size() - handshake_sent_};
    return 1;
  }
  const std::size_t filled = replies_.gather(out, counters_);
  // The last step may be long ago: then there is one look more. This one is no step, for nothing is known to stall.
  if (filled > 0 && check_at_ == proto::kNever) check_at_ = now_ + patience(now_);
  return filled;
}

void Connection::on_sent(std::size_t length, proto::Micros now) {
  const Step step(*this, now);
  if (phase_ == Phase::closed) return;
  counters_.bytes_sent += length;
  if (!handshake_sending_.empty()) {
    NBDGW_ASSERT(length <= handshake_sending_.size() - handshake_sent_, "no more was sent than was shown");
    handshake_sent_ += length;
    if (handshake_sent_ == handshake_sending_.size()) {
      handshake_sending_ = std::string();
      handshake_sent_ = 0;
    }
  } else if (length > 0) {
    NBDGW_ASSERT(backend_ != nullptr, "replies belong to an export");
    replies_.on_sent(length, *backend_, in_flight_, counters_);
    if (replies_.empty()) reply_debt_.interrupt();
  }
  if (NBDGW_MUTANT(sent_replies_free_nobody)) return;
  advance(now);  // it may have waited for a reply slot, or for the in-flight limit
}

// ---- the end
// --------------------------------------------------------------------------------------------------------

void Connection::on_peer_gone(bool input_ended, proto::Micros now) {
  const Step step(*this, now);
  if (phase_ == Phase::closed) return;
  peer_gone_ = true;
  input_ended_ = input_ended_ || input_ended;
  const bool falls_short = input_ended_ && payload_left() > staging_.size() + backlog_.size();  // so it needs no room
  if (falls_short || (peer_lost_ && phase_ != Phase::handshake)) drop_unread();
  do {
    drop_replies();
    advance(now);  // what was dropped has made room
  } while (wants_tx());
}

void Connection::on_peer_dead() noexcept {
  if (phase_ != Phase::closed) close_reason_ = CloseReason::peer_dead;
}

/// A WRITE whose payload is not all there ends with it.
void Connection::drop_unread() noexcept {
  input_ended_ = true;
  stop_waiting();
  blocked_ = false;
  staging_.clear();
  backlog_.put({});
  if (resumed_ != nullptr) resumed_->unread.clear();
  drop_unfinished_write();
}

/// Nobody takes them. A READ that is not answered yet was for nothing.
void Connection::drop_replies() {
  handshake_output_.clear();
  handshake_sending_.clear();
  handshake_sent_ = 0;
  if (backend_ == nullptr) return;
  replies_.drop(*backend_, in_flight_);
  for (Request* request = in_flight_.first(); request != nullptr;) {
    Request* const next = request->marks.next;
    if (request->header.command == Command::read) abandon(*request);
    request = next;
  }
}

void Connection::abandon(Request& request) {
  in_flight_.remove(request);
  backend_->abandon(request);
}

void Connection::on_disconnected(proto::Micros now) {
  const Step step(*this, now);
  if (phase_ == Phase::closed) return;
  const bool dead = close_reason_ == CloseReason::peer_dead;
  const bool said_goodbye = phase_ == Phase::disconnecting;
  const bool serving = phase_ == Phase::handshake || phase_ == Phase::transmission || phase_ == Phase::parting;
  const bool left = input_ended_ && !cut_off_ && !dead && serving;
  const bool silent = phase_ == Phase::handshake && counters_.bytes_received == 0;
  const bool expected = !left && (wants_close() || phase_ == Phase::disconnecting || phase_ == Phase::closing);
  replies_.clear();
  staging_.clear();
  backlog_.put({});
  handshake_.reset();
  handshake_output_.clear();
  handshake_sending_.clear();
  resumed_.reset();
  rx_request_ = nullptr;
  rx_segment_ = nullptr;
  stop_waiting();
  blocked_ = false;
  const CloseReason lost = silent ? CloseReason::silent : CloseReason::connection_lost;
  enter(Phase::closed, expected || dead ? CloseReason::none : lost);
  while (Request* request = in_flight_.first()) abandon(*request);
  if (attachment_ != nullptr && !said_goodbye) attachment_->lost(now);
  attachment_.reset();
  backend_ = nullptr;
}

bool Connection::wants_close() const noexcept {
  if (cut_off_) return phase_ != Phase::closed;
  // What is blocked waits for memory or for others to be done, and then goes on.
  const bool exhausted = input_ended_ && !blocked_ && in_flight_.size() == 0 && !wants_tx();
  switch (phase_) {
    case Phase::handshake:
    case Phase::transmission:
      return exhausted;
    case Phase::parting:
      // Nobody can go on with what has ended in the middle of a WRITE: the rest of it, which may lie in the socket
      // yet, would be taken for requests. Whole ones are left to the next process.
      return exhausted && staging_.size() == 0 && backlog_.empty() && !NBDGW_MUTANT(half_a_write_goes_along);
    case Phase::resuming:
    case Phase::closed:
      return false;
    case Phase::draining:
      return in_flight_.size() == 0 && rx_ == Rx::header && !wants_tx();
    case Phase::disconnecting:
      return in_flight_.size() == 0 && !wants_tx();
    case Phase::closing:
      return !wants_tx();
  }
  return false;
}

void Connection::begin_drain(proto::Micros now) {
  const Step step(*this, now);
  switch (phase_) {
    case Phase::handshake:
      handshake_->begin_drain(now);
      after_handshake_step();
      break;
    case Phase::transmission:
      enter(Phase::draining, CloseReason::drained);
      break;
    case Phase::resuming:
      return enter(Phase::closing, CloseReason::drained);
    case Phase::parting:  // the end is near anyhow, and a better one
    case Phase::draining:
    case Phase::disconnecting:
    case Phase::closing:
    case Phase::closed:
      return;
  }
  stop_waiting();  // a request that waits for memory is not begun any more
  advance(now);
}

proto::Micros Connection::next_deadline() const noexcept {
  if (handshake_ != nullptr && phase_ == Phase::handshake) return handshake_->next_deadline();
  return std::min(check_at_, resume_by_);
}

void Connection::on_deadline(proto::Micros now) {
  const Step step(*this, now);
  if (phase_ == Phase::handshake) {
    handshake_->on_deadline(now);
    after_handshake_step();
    // Who did not even finish the handshake is given no time to take the replies to it.
    cut_off_ = close_reason_ == CloseReason::handshake_timeout;
    return advance(now);
  }
  if (now >= resume_by_) enter(Phase::closing, CloseReason::resume_timeout);
  keep_watch(now);
}

// ---- exports
// --------------------------------------------------------------------------------------------------------

std::optional<std::string_view> Connection::wants_export() const noexcept {
  if (phase_ == Phase::resuming) return resumed_->info.name;
  if (phase_ != Phase::handshake) return std::nullopt;
  return handshake_->wants_export();
}

void Connection::export_found(Backend& backend, proto::Micros now) {
  const Step step(*this, now);
  if (phase_ == Phase::resuming) return resume_on(backend, now);
  if (phase_ != Phase::handshake) return;
  handshake_->export_found(backend.info(), now);
  if (handshake_->state() == Handshake::State::done) {
    backend_ = &backend;
    token_ = handshake_->client().token;
    attachment_ = backend.attach(handshake_->client());
  }
  after_handshake_step();
  advance(now);
}

void Connection::export_unknown(std::string_view text, proto::Micros now) {
  const Step step(*this, now);
  if (phase_ == Phase::resuming) enter(Phase::closing, CloseReason::export_gone);
  if (phase_ != Phase::handshake) return;
  handshake_->export_unknown(text, now);
  after_handshake_step();
  advance(now);
}

void Connection::export_shut(std::string_view text, proto::Micros now) {
  const Step step(*this, now);
  if (phase_ != Phase::handshake) return;
  handshake_->export_shut(text, now);
  after_handshake_step();
  advance(now);
}

proto::Micros Connection::oldest_arrival() const noexcept {
  const Request* const oldest = in_flight_.oldest();
  return oldest != nullptr ? oldest->arrived_at : proto::kNever;
}

void Connection::export_waiting(std::string_view text) {
  if (phase_ == Phase::handshake) handshake_->export_waiting(text);
}

// ---- outcomes
// -------------------------------------------------------------------------------------------------------

void Connection::segment_done(Request& request, Segment& segment) {
  NBDGW_ASSERT(!in_step_, "the backend never answers from inside a call of the engine");
  NBDGW_ASSERT(request.connection == this && !request.marks.finished, "a request in flight on this connection");
  NBDGW_ASSERT(request.header.command == Command::read, "only a READ has data to send");
  if (replies_.segment_done(request, segment)) bell_.ring();
}

void Connection::finish(Request& request, Error error, const char* text) {
  NBDGW_ASSERT(!in_step_, "the backend never answers from inside a call of the engine");
  NBDGW_ASSERT(request.connection == this && !request.marks.finished, "a request in flight is finished once");
  NBDGW_ASSERT(error != Error::enotsup, "ENOTSUP answers FAST_ZERO only, which is not offered");
  EngineMarks& marks = request.marks;
  NBDGW_ASSERT(
      error != Error::none || request.header.command != Command::read || marks.done_bytes == request.header.length,
      "a READ succeeds with all of its data");
  NBDGW_ASSERT(error != Error::none || rx_request_ != &request, "a WRITE succeeds with all of its payload");
  marks.finished = true;
  marks.error = error;
  marks.text = text;
  // A WRITE whose payload is not all there: the rest is dropped, then comes the reply. A receive may be filling a
  // segment right now, that one is filled first.
  if (rx_request_ != &request) {
    replies_.finish(request);
  } else if (rx_segment_ == nullptr) {
    rx_ = Rx::discard;
    stop_waiting();
    blocked_ = false;
    take_discard();
  }
  if (!NBDGW_MUTANT(reply_rings_no_bell)) bell_.ring();
}

}  // namespace nbdgw::nbd
