// How a connection passes from a process that ends to the one that comes in its place.

#include <algorithm>

#include "gateway/nbd/connection.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

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
  NBDGW_ASSERT(resumed_->unread.size() <= kMaxUnread, "no more is kept than can be received");
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
  const auto unread = staging_.bytes().first(NBDGW_MUTANT(handover_forgets_unread) ? 0 : staging_.size());
  return {.info = backend_->info(),
          .structured = structured_,
          .standing = standing(),
          .token = token_,
          .unread = {unread.begin(), unread.end()}};
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
  const auto& unread = resumed_->unread;
  std::ranges::copy(unread, staging_.make_room(unread.size()).begin());
  staging_.fill(unread.size());
  resumed_.reset();
  enter(Phase::transmission, CloseReason::none);
  advance(now);
}

}  // namespace nbdgw::nbd
