// How a connection passes from a process that ends to the one that comes in its place.

#include <algorithm>
#include <array>
#include <utility>

#include "gateway/nbd/connection.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"
#include "proto/nbd/messages.hpp"

namespace nbdgw::nbd {

bool keeps_promises(const ExportInfo& now, const ExportInfo& before) noexcept {
  constexpr std::uint16_t kNoPromises = proto::nbd::kFlagReadOnly | proto::nbd::kFlagRotational;
  const auto promised = static_cast<std::uint16_t>(transmission_flags(before, true) & ~kNoPromises);
  return proto::same_disk(before.disk, now.disk) == proto::SameDisk::yes && now.size >= before.size &&
         now.read_only == before.read_only && (transmission_flags(now, true) & promised) == promised &&
         now.min_block <= before.min_block;
}

Connection::Connection(KeptConnection kept, const ConnectionOptions& options, proto::Micros now)
    : options_(options),
      phase_(Phase::resuming),
      now_(now),
      resumed_(std::make_unique<KeptConnection>(std::move(kept))),
      resume_by_(now + options.resume_timeout),
      staging_(kStagingLength),
      stall_timeout_(options.stall_timeout) {
  stake_.in_pieces = structured_ = resumed_->structured;
  token_ = resumed_->token;
  replies_.open(structured_);
}

void Connection::begin_handover(proto::Micros now) {
  const Step step(*this, now);
  handed_over_ = true;
  if (phase_ != Phase::transmission && phase_ != Phase::resuming) return;
  enter(Phase::parting, CloseReason::none);
  stop_waiting();  // a request that waits for memory waits for the next process
  advance(now);
}

bool Connection::parked() const noexcept {
  const bool quiet = !wants_tx() || NBDGW_MUTANT(parks_with_replies_unsent);
  return phase_ == Phase::parting && in_flight_.size() == 0 && rx_ == Rx::header && quiet && !wants_close();
}

KeptConnection Connection::kept() const {
  NBDGW_ASSERT(parked(), "only what has come to rest is kept");
  if (resumed_ != nullptr) {
    KeptConnection again = *resumed_;
    again.standing = standing();
    again.token = token_;
    return again;
  }
  const auto staged = staging_.bytes().first(NBDGW_MUTANT(handover_forgets_unread) ? 0 : staging_.size());
  const auto behind = backlog_.rest();
  std::vector<std::uint8_t> unread(staged.begin(), staged.end());
  unread.insert(unread.end(), behind.begin(), behind.end());
  return {.info = backend_->info(),
          .structured = structured_,
          .standing = standing(),
          .token = token_,
          .unread = std::move(unread)};
}

bool Connection::pass_on(std::size_t& most, proto::Micros now) {
  Step step(*this, now);
  const std::optional<std::size_t> length = length_to_pass_on();
  if (!length || *length > most) {
    step.in_vain();
    return false;
  }
  most -= *length;
  std::vector<std::uint8_t> all;
  all.reserve(*length);
  for (const Request* request = in_flight_.oldest(); request != nullptr; request = request->marks.previous)
    append_begun(*request, all);
  const auto staged = staging_.bytes(), behind = backlog_.rest();
  all.insert(all.end(), staged.begin(), staged.end());
  all.insert(all.end(), behind.begin(), behind.end());
  NBDGW_ASSERT(all.size() == *length, "as much as there was");
  staging_.clear();
  backlog_.put(std::move(all));
  rx_ = Rx::header;
  rx_request_ = nullptr;
  rx_segment_ = nullptr;
  rx_left_ = rx_filled_ = 0;
  stop_waiting();
  while (Request* const request = in_flight_.first()) abandon(*request);
  return true;
}

/// Of the payload of a WRITE, bytes.
std::size_t Connection::received_of(const Request& request) const noexcept {
  return request.header.length - (&request == rx_request_ ? rx_left_ : 0);
}

/// Bytes; none: it cannot be. Cheap, for it may be asked for again and again.
std::optional<std::size_t> Connection::length_to_pass_on() const noexcept {
  if (phase_ != Phase::parting || wants_tx() || rx_ == Rx::discard || peer_gone_ || wants_close())
    return std::nullopt;
  std::size_t length = staging_.size() + backlog_.size();
  for (const Request* request = in_flight_.oldest(); request != nullptr; request = request->marks.previous) {
    if (request->marks.finished || request->marks.answering) return std::nullopt;
    length += proto::nbd::kRequestLength;
    if (request->header.command != proto::nbd::Command::write) continue;
    if (!backend_->has_payload(*request)) return std::nullopt;
    length += received_of(*request);
  }
  return length;
}

/// A request as it came.
void Connection::append_begun(const Request& request, std::vector<std::uint8_t>& to) const {
  const RequestHeader& header = request.header;
  std::array<std::uint8_t, proto::nbd::kRequestLength> wire;
  proto::nbd::Request{.flags = header.flags,
                      .command = header.command,
                      .cookie = header.cookie,
                      .offset = header.offset,
                      .length = header.length}
      .encode(wire);
  to.insert(to.end(), wire.begin(), wire.end());
  if (header.command != proto::nbd::Command::write) return;
  NBDGW_ASSERT(&request != rx_request_ || &request == in_flight_.first(), "the last one alone is not there whole");
  const std::size_t end = to.size() + received_of(request);
  backend_->copy_payload(request, to);
  NBDGW_ASSERT(to.size() >= end, "what has come is in its memory");
  to.resize(end);
}

/// The staging memory takes what follows in the backlog. True: there is something new.
bool Connection::refill() {
  if (backlog_.empty() || leaves_requests()) return false;
  const std::size_t taken = backlog_.take(staging_.make_room(kStagingLength));
  staging_.fill(taken);
  return taken > 0;
}

LossStanding Connection::standing() const noexcept {
  if (attachment_ != nullptr) return attachment_->standing();
  return resumed_ != nullptr ? resumed_->standing : LossStanding::newcomer;
}

void Connection::expect_export(Backend& backend) {
  if (phase_ == Phase::resuming && attachment_ == nullptr)
    attachment_ = backend.attach({.standing = resumed_->standing, .token = token_});
}

/// What it was owed there is left to whoever comes, and that may be it.
void Connection::forgo_export() noexcept {
  if (resumed_ == nullptr || attachment_ == nullptr) return;
  const LossStanding before = standing();
  attachment_.reset();
  resumed_->standing = before == LossStanding::owed ? LossStanding::newcomer : before;
}

/// The export that it was attached to is there again.
void Connection::resume_on(Backend& backend, proto::Micros now) {
  if (!keeps_promises(backend.info(), resumed_->info)) return enter(Phase::closing, CloseReason::resume_refused);
  expect_export(backend);
  backend_ = &backend;
  backlog_.put(std::move(resumed_->unread));
  resumed_.reset();
  enter(Phase::transmission, CloseReason::none);
  advance(now);
}

}  // namespace nbdgw::nbd
