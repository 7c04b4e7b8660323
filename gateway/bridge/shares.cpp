#include "gateway/bridge/shares.hpp"

#include <algorithm>

#include "gateway/bridge/limits.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::bridge {

using proto::BufferPool;

Shares::Shares(BufferPool& pool, std::uint32_t clients, std::uint64_t largest) noexcept
    : pool_(pool), largest_(largest) {
  const std::uint64_t reserve = pool.capacity() / kReservedPart;
  reserved_clients_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(clients, reserve / BufferPool::kSmallBlock));
  if (reserved_clients_ > 0) {
    const std::uint64_t each = reserve / reserved_clients_ / BufferPool::kSmallBlock * BufferPool::kSmallBlock;
    reserved_bytes_ = std::min<std::uint64_t>(each, BufferPool::kSmallLimit);
  }
  divide();
}

std::uint64_t Shares::most() const noexcept {
  return exports_ == 0 ? shared() : shared() - (exports_ - 1) * floor_;
}

/// Another number of exports: the floors are others, and so is what each has above its own.
void Shares::divide() noexcept {
  floor_ = exports_ == 0 || NBDGW_MUTANT(no_floor) ? 0 : std::min(largest_, shared() / (2 * exports_));
  common_out_ = 0;
  for (const Share* member : members_) common_out_ += member->above_floor(member->memory_);
  for (const Share* member : members_) {
    if (member->listener_ != nullptr) member->listener_->on_divided();
  }
}

void Shares::enter(Share& share) noexcept {
  members_.push_back(&share);
  ++exports_;
  divide();
}

void Shares::leave(Share& share) noexcept {
  std::erase(members_, &share);
  --exports_;
  divide();
}

Share::Share(Shares& shares, ShareListener& listener, std::size_t requests, std::size_t segments) noexcept
    : shares_(shares), request_limit_(requests), segment_limit_(segments) {
  shares_.enter(*this);  // which tells the others
  listener_ = &listener;
}

Share::~Share() {
  waiting_.clear();
  shares_.leave(*this);
}

bool Share::has_memory(const nbd::Stake& stake, const Need& need, bool held) const noexcept {
  const std::uint64_t more = above_floor(memory_ + need.memory) - above_floor(memory_);
  if (more == 0) return true;
  const bool first = shares_.waiting_.empty() || &shares_.waiting_.front() == &stake;
  return !held && first && shares_.common_out_ + more <= shares_.common();
}

bool Share::has_reserve(const nbd::Stake& stake, const Need& need) const noexcept {
  if (need.segments > 1 || need.memory > shares_.reserved_bytes_ || NBDGW_MUTANT(no_reserve)) return false;
  if (need.requests > 0 && (stake.reserved_request || reserved_requests_ >= shares_.reserved_clients_)) return false;
  return need.segments == 0 || (!stake.reserved_memory && shares_.reserved_out_ < shares_.reserved_clients_);
}

/// Somebody waits, or it is not within the floor.
Source Share::look_closely(nbd::Stake& stake, const Need& need, bool held) noexcept {
  const bool first = waiting_.empty() || &waiting_.front() == &stake;
  const bool slots = has_slots(need);
  if (first && slots && has_memory(stake, need, held)) return Source::shared;
  if (has_reserve(stake, need)) return Source::reserved;
  wait(stake);
  // Who cannot have common memory now, or is not the one of its export to have it, keeps nobody else from it.
  const bool wants_common = first && slots && !held && above_floor(memory_ + need.memory) > above_floor(memory_);
  if (!wants_common) {
    if (stake.memory_place.is_linked()) ++shares_.made_way_;
    stake.memory_place.unlink();
  } else if (!stake.memory_place.is_linked()) {
    shares_.waiting_.push_back(stake);
  }
  return Source::nowhere;
}

void Share::wait(nbd::Stake& stake) noexcept {
  if (!stake.waits()) waiting_.push_back(stake);
}

void Share::take_reserve(nbd::Stake& stake, const Need& need) noexcept {
  if (need.requests > 0) {
    stake.reserved_request = true;
    ++reserved_requests_;
  }
  if (need.segments > 0) {
    stake.reserved_memory = true;
    ++shares_.reserved_out_;
  }
}

void Share::give_back_reserve(nbd::Stake* stake, const Need& need) noexcept {
  if (need.requests > 0) {
    --reserved_requests_;
    if (stake != nullptr && !NBDGW_MUTANT(reserved_request_leaks)) stake->reserved_request = false;
  }
  if (need.segments > 0) {
    --shares_.reserved_out_;
    if (stake != nullptr) stake->reserved_memory = false;
  }
}

std::size_t Share::spare_segments() const noexcept {
  return waiting_.empty() ? segment_limit_ - segments_ : 0;
}

std::uint64_t Share::in_pieces(std::uint64_t need, std::uint64_t part) const noexcept {
  return std::min(need, std::max(shares_.floor_, part));
}

bool Share::others_wait(const nbd::Stake& stake) const noexcept {
  const auto other_than = [&](const auto& queue) {
    if (queue.empty()) return false;
    return &queue.front() != &stake || &queue.back() != &stake;
  };
  return other_than(waiting_) || other_than(shares_.waiting_);
}

}  // namespace nbdgw::bridge
