// The receiving half of a connection: what the bytes mean, and where the next ones go.

#include <algorithm>
#include <array>

#include "gateway/nbd/connection.hpp"
#include "gateway/nbd/validate.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/mutant.hpp"
#include "proto/nbd/messages.hpp"

namespace nbdgw::nbd {

using proto::nbd::Command;
using proto::nbd::Error;
using proto::nbd::kRequestLength;

namespace {

/// Room for what follows the handshake message that is being received, bytes.
constexpr std::size_t kHandshakeRoom = 4096;

/// Payload that lands behind a header in the staging memory is copied. That is cheap for small requests, of which one
/// receive then takes in many, and a waste for large ones: so after a WRITE of kLargeWrite bytes or more only a
/// little room is offered for headers, and the payload of the next one goes to its own memory. Bytes.
constexpr std::uint32_t kLargeWrite = 16 * 1024;
constexpr std::size_t kRoomAmongLargeWrites = 256;
constexpr std::size_t kRoomAmongSmallRequests = 32 * 1024;

}  // namespace

std::size_t Connection::room_for_headers() const noexcept {
  return large_writes_ ? kRoomAmongLargeWrites : kRoomAmongSmallRequests;
}

bool Connection::reads() const noexcept {
  switch (phase_) {
    case Phase::handshake:
    case Phase::transmission:
    case Phase::parting:
    case Phase::draining:
      return true;
    case Phase::resuming:
    case Phase::disconnecting:
    case Phase::closing:
    case Phase::closed:
      break;
  }
  return false;
}

bool Connection::wants_rx() const noexcept {
  if (!reads() || blocked_ || !backlog_.empty() || wants_close()) return false;
  if (leaves_requests() && rx_ == Rx::header) return false;
  // While an export is awaited, a client may say more than there is room for.
  return staging_.size() < kStagingLength || (rx_ == Rx::payload && rx_segment_ != nullptr);
}

std::size_t Connection::rx_buffers(std::span<iovec> out) {
  offered_payload_ = offered_staging_ = 0;
  if (!wants_rx() || out.empty()) return 0;

  std::size_t filled = 0;
  std::size_t room = 0;  // wanted in the staging memory
  if (phase_ == Phase::handshake) {
    room = kHandshakeRoom;
  } else if (rx_ == Rx::discard) {
    room = std::max<std::size_t>(rx_left_, room_for_headers());
  } else if (rx_ == Rx::header) {
    room = room_for_headers();
  } else if (rx_segment_ == nullptr) {
    room = room_for_headers();  // memory is asked for when there is some payload
  } else {
    const std::size_t rest = rx_segment_->length - rx_filled_;
    filled = proto::slice(rx_segment_->payload, rx_filled_, rest, out, &offered_payload_);
    if (offered_payload_ == rx_left_) {
      room = room_for_headers();
    } else if (offered_payload_ == rest) {
      room = kRoomAmongLargeWrites;  // shows whether the next segment is on its way
    }
  }
  if (room > 0 && filled < out.size()) {
    const std::span<std::uint8_t> free = staging_.make_room(std::min(room, kStagingLength));
    if (!free.empty()) out[filled++] = {free.data(), free.size()};
    offered_staging_ = free.size();
  }
  return filled;
}

void Connection::on_received(std::size_t length, proto::Micros now) {
  const Step step(*this, now);
  NBDGW_ASSERT(length <= offered_payload_ + offered_staging_, "no more was received than there was room for");
  const std::size_t payload = std::min(length, offered_payload_);
  offered_payload_ = offered_staging_ = 0;
  counters_.bytes_received += length;
  if (!reads()) return;  // decided to close while the receive was under way
  if (payload > 0) payload_arrived(payload, now);
  staging_.fill(length - payload);
  advance(now);
}

void Connection::on_room(proto::Micros now) {
  Step step(*this, now);
  if (!stalled_) return step.in_vain();
  const std::size_t unread = staging_.size();
  const proto::Micros check_at = check_at_;
  stalled_ = false;
  advance(now);
  if (!stalled_) stake_.leave();
  if (stalled_ && staging_.size() == unread && check_at_ == check_at) step.in_vain();
}

void Connection::stop_waiting() noexcept {
  stalled_ = false;
  stake_.leave();
}

/// Takes everything that can be taken from the staging memory.
void Connection::advance(proto::Micros now) {
  if (stalled_) return;
  blocked_ = false;
  bool progress = true;
  while (progress && reads()) {
    if (phase_ == Phase::handshake) {
      progress = advance_handshake(now);
      continue;
    }
    switch (rx_) {
      case Rx::header:
        progress = take_header(now);
        break;
      case Rx::payload:
        progress = take_payload(now);
        break;
      case Rx::discard:
        progress = take_discard();
        break;
    }
    if (!progress && !blocked_) progress = refill();
  }
  if (input_ended_ && !blocked_) drop_unfinished_write();
  if (rx_request_ != nullptr) begin_watch(now);
}

bool Connection::advance_handshake(proto::Micros now) {
  if (handshake_sending_.size() - handshake_sent_ + handshake_output_.size() > kMaxHandshakeBacklog) {
    blocked_ = true;
    return false;
  }
  const std::size_t taken = handshake_->consume(staging_.bytes(), now);
  staging_.drop(taken);
  after_handshake_step();
  return taken > 0;
}

void Connection::after_handshake_step() {
  switch (handshake_->state()) {
    case Handshake::State::client_flags:
    case Handshake::State::options:
    case Handshake::State::waiting_for_export:
      return;
    case Handshake::State::closing:
      return enter(Phase::closing, handshake_->close_reason());
    case Handshake::State::done:
      stake_.in_pieces = structured_ = handshake_->structured();
      replies_.open(structured_);
      handshake_.reset();
      enter(Phase::transmission, CloseReason::none);
      if (handed_over_) enter(Phase::parting, CloseReason::none);
      return;
  }
}

// ---- requests
// -------------------------------------------------------------------------------------------------------

bool Connection::take_header(proto::Micros now) {
  if (peer_lost_) {  // gone in the handshake, behind which requests lie
    drop_unread();
    return false;
  }
  if (staging_.size() < kRequestLength || leaves_requests()) return false;
  const auto wire = proto::nbd::Request::decode(staging_.bytes().first<kRequestLength>());
  if (wire.magic != proto::nbd::kRequestMagic) {
    enter(Phase::closing, CloseReason::bad_request_magic);
    return false;
  }
  const RequestHeader header{wire.cookie, wire.command, wire.flags, wire.offset, wire.length};
  if (header.command == Command::disc) {
    header_taken(header);
    enter(Phase::disconnecting, CloseReason::disc);
    return false;
  }
  return take_request(header, now);
}

/// False: the header stays where it is, and is looked at again later.
bool Connection::take_request(const RequestHeader& header, proto::Micros now) {
  const Validation validation = validate_request(header, backend_->info(), structured_);
  if (validation.error != Error::none) return answer_at_once(header, validation.error, validation.text);
  if (header.length == 0 && header.command != Command::flush) return answer_at_once(header, Error::none, nullptr);
  if (peer_gone_ && header.command == Command::read) {
    header_taken(header);
    return true;
  }
  const bool first_look = header_seen_at_ < 0;
  if (first_look) header_seen_at_ = now;
  if (in_flight_.size() >= options_.max_in_flight && !NBDGW_MUTANT(in_flight_without_limit)) {
    if (first_look) ++counters_.in_flight_stops;
    blocked_ = true;
    return false;
  }
  return admit(header, now);
}

bool Connection::admit(const RequestHeader& header, proto::Micros now) {
  Request* const request = backend_->admit(header, *this, stake_, now);
  if (request == nullptr) {
    ++counters_.stalls;
    stalled_ = blocked_ = true;
    return false;
  }
  request->header = header;
  request->connection = this;
  request->arrived_at = header_seen_at_;
  header_taken(header);
  in_flight_.add(*request);
  if (header.command == Command::write) {
    rx_ = Rx::payload;
    rx_request_ = request;
    rx_left_ = header.length;
    return true;
  }
  NBDGW_ASSERT(header.command != Command::read || request->segments != nullptr, "a READ is admitted with its memory");
  backend_->start(*request, now);
  return true;
}

/// A reply that the backend has no part in. The payload of a WRITE is dropped first.
bool Connection::answer_at_once(const RequestHeader& header, Error error, const char* text) {
  const ImmediateReply reply{header.cookie, header.command, error, text};
  if (header.command == Command::write && header.length > kMaxPayload) {
    enter(Phase::closing, CloseReason::payload_too_long);
    return false;
  }
  const bool discards = header.command == Command::write && header.length > 0 && !NBDGW_MUTANT(refused_payload_stays);
  if (error != Error::none && (discards || !replies_.full())) backend_->refused(header, error, text);
  if (discards) {
    header_taken(header);
    rx_ = Rx::discard;
    rx_left_ = header.length;
    after_discard_ = reply;
    return true;
  }
  if (replies_.full()) {
    blocked_ = true;
    return false;
  }
  header_taken(header);
  replies_.push(reply, counters_);
  return true;
}

void Connection::header_taken(const RequestHeader& header) {
  staging_.drop(kRequestLength);
  header_seen_at_ = -1;
  ++counters_.requests[Counters::index_of(header.command)];
  large_writes_ = header.command == Command::write && header.length >= kLargeWrite;
}

// ---- payload
// --------------------------------------------------------------------------------------------------------

bool Connection::take_payload(proto::Micros now) {
  if (rx_segment_ == nullptr) {
    if (rx_request_->marks.finished) {
      rx_ = Rx::discard;
      return true;
    }
    if (staging_.size() == 0 && !NBDGW_MUTANT(memory_for_announced_payload))
      return false;  // who has sent nothing gets no memory
    rx_segment_ = backend_->next_write_segment(*rx_request_);
    rx_filled_ = 0;
    if (rx_segment_ == nullptr) {
      ++counters_.stalls;
      stalled_ = blocked_ = true;
      payload_debt_.interrupt();  // now the move is ours
      return false;
    }
    const std::uint64_t expected = rx_request_->header.offset + (rx_request_->header.length - rx_left_);
    NBDGW_ASSERT(rx_segment_->length > 0 && rx_segment_->length <= rx_left_ && rx_segment_->offset == expected,
                 "the segments of a WRITE follow each other");
  }
  const std::size_t length = std::min<std::size_t>(staging_.size(), rx_segment_->length - rx_filled_);
  if (length == 0) return false;
  proto::copy_in(rx_segment_->payload, rx_filled_, staging_.bytes().data(), length);
  staging_.drop(length);
  payload_arrived(length, now);
  return true;
}

/// More of the current segment is there.
void Connection::payload_arrived(std::size_t length, proto::Micros now) {
  rx_filled_ += static_cast<std::uint32_t>(length);
  rx_left_ -= static_cast<std::uint32_t>(length);
  counters_.bytes_written += length;
  if (rx_filled_ < rx_segment_->length) return;

  Request& request = *rx_request_;
  Segment& segment = *rx_segment_;
  rx_segment_ = nullptr;
  if (rx_left_ == 0) {
    rx_ = Rx::header;
    rx_request_ = nullptr;
    payload_debt_.interrupt();
  }
  if (!request.marks.finished)
    backend_->segment_received(request, segment, now);
  else if (rx_left_ == 0)
    replies_.finish(request);
}

bool Connection::ends_in_goodbye(std::size_t unread, std::span<const std::uint8_t> last) const noexcept {
  if (phase_ == Phase::disconnecting || phase_ == Phase::closing || phase_ == Phase::closed) return true;
  std::array<std::uint8_t, kRequestLength> end{};
  std::size_t missing = end.size();
  const auto behind = resumed_ != nullptr ? std::span<const std::uint8_t>(resumed_->unread) : backlog_.rest();
  const std::span<const std::uint8_t> parts[] = {last, behind, staging_.bytes()};
  for (const auto& part : parts) {
    const std::size_t n = std::min(missing, part.size());
    std::ranges::copy(part.last(n), end.begin() + static_cast<std::ptrdiff_t>(missing - n));
    missing -= n;
  }
  if (missing > 0 || staging_.size() + behind.size() + unread < end.size() + payload_left()) return false;
  const auto request = proto::nbd::Request::decode(end);
  return request.magic == proto::nbd::kRequestMagic && request.command == Command::disc;
}

/// The rest of its payload never comes.
void Connection::drop_unfinished_write() noexcept {
  if (rx_request_ != nullptr) abandon(*rx_request_);
  rx_request_ = nullptr;
  rx_segment_ = nullptr;
  after_discard_.reset();
  rx_ = Rx::header;
}

/// Drops what is there of a payload that nobody wants; after its end comes the reply.
bool Connection::take_discard() {
  const std::size_t length = std::min<std::size_t>(staging_.size(), rx_left_);
  staging_.drop(length);
  rx_left_ -= static_cast<std::uint32_t>(length);
  counters_.bytes_discarded += length;
  if (rx_left_ > 0) return false;

  if (rx_request_ != nullptr) {
    replies_.finish(*rx_request_);
    rx_request_ = nullptr;
    payload_debt_.interrupt();
  } else if (replies_.full()) {
    blocked_ = true;
    return false;
  } else {
    replies_.push(*after_discard_, counters_);
    after_discard_.reset();
  }
  rx_ = Rx::header;
  return true;
}

}  // namespace nbdgw::nbd
