#include <algorithm>
#include <utility>

#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// How large the LUN is, and what else it can do: taken from each probe, and asked for now and then.
namespace nbdgw::bridge {

using device::LogicalUnit;

namespace {

std::string growth(std::uint64_t from, std::uint64_t to) {
  return "it grew from " + std::to_string(from) + " to " + std::to_string(to) +
         " bytes; a client that is attached sees that when it attaches again";
}

}  // namespace

void Export::accept_facts(const device::Facts& facts, proto::Micros now) {
  const std::uint64_t size = facts.capacity_bytes();
  if (known_ && size < info_.size) {
    recheck_at_ = now + kRecheckInterval;
    enter(ExportState::refused,
          "the LUN shrank from " + std::to_string(info_.size) + " to " + std::to_string(size) +
              " bytes; grow it again, or restart the gateway to take the new size",
          now);
    return;
  }
  if (out_of_reach(facts, refused_)) return refuse_out_of_reach(now);
  judge_inheritance(facts);
  if (!enter_directory(facts, now)) return;
  if (known_ && size > info_.size) tell(CacheEvent::Kind::grown, growth(info_.size, size));
  known_ = true;
  info_.size = size;
  info_.disk = facts.identity();
  info_.read_only = config_.read_only || facts.write_protected;
  info_.rotational = facts.medium == device::Medium::rotating;
  info_.preferred_block =
      std::clamp(std::max(facts.block_length, facts.physical_block_length), kPreferredBlock, kMaxPart);
  refresh_abilities();
  enter(ExportState::online, "", now);
}

/// Which disk it is was read before its size: if another one has come in between, the size is that one's, and when
/// the right one is back it would be taken to have shrunk. So that it has grown is believed when it is found again,
/// by a probe that begins with who it is. Whatever size that one finds: a LUN may grow on and on.
bool Export::looks_twice(const device::Facts& facts) noexcept {
  const bool grown = known_ && facts.capacity_bytes() > info_.size && facts.identity().known();
  growth_found_ = grown && !growth_found_;
  return growth_found_;
}

/// What was unflushed, or owed, before a time in which nobody has served the LUN, is of no concern to another disk.
void Export::judge_inheritance(const device::Facts& facts) noexcept {
  if (proto::same_disk(heir_of_, facts.identity()) == proto::SameDisk::no) {
    disk_->cache.forget();
    known_when_online_ = disk_->cache.known();
  }
  heir_of_ = {};
}

/// It knows the 10-byte forms of READ and WRITE only, and these end before it does.
void Export::refuse_out_of_reach(proto::Micros now) {
  enter(ExportState::refused,
        "the LUN is larger than its 10-byte commands reach: it refuses READ(16) and WRITE(16), and has " +
            std::to_string(unit_.facts().blocks) + " blocks, more than 2^32; make it smaller, or update the target",
        now);
}

void Export::poll_capacity(proto::Micros now) {
  if (state_ != ExportState::online || looking_ || unit_.state() != LogicalUnit::State::ready) return;
  bell_.ring();
  // After a silence it could be another disk that answers, and would be trusted for its answer.
  if (queue_.under_way() == 0 && now - heard_at_ > config_.silence) looks_first(now);
  unit_.refresh_capacity(now);
}

void Export::ask_if_unheard(proto::Micros now) {
  if (now - heard_at_ >= kUnheard && !NBDGW_MUTANT(idle_standby_unseen)) poll_capacity(now);
}

bool Export::asks_online() const noexcept {
  return state_ == ExportState::online && unit_.state() != LogicalUnit::State::ready;
}

bool Export::rescan(std::uint32_t request_id, proto::Micros now) {
  NBDGW_ASSERT(request_id != 0, "a rescan has a number");
  if (!session_up_ || rescan_ != 0) return false;
  rescan_ = request_id;
  size_before_ = known_ ? info_.size : 0;
  refused_ = {};
  enter(ExportState::probing, "the LUN is being probed, as was asked for by hand", now);
  unit_.probe(now);
  return true;
}

/// The probe that was asked for has ended, or will not.
void Export::rescan_over() {
  if (rescan_ == 0) return;
  CacheEvent event{
      .kind = CacheEvent::Kind::rescanned, .lun = config_.lun, .writes = 0, .requests = 0, .cause = reason_};
  event.request_id = std::exchange(rescan_, 0);
  event.good = state_ == ExportState::online;
  if (event.good) {
    const std::string size = std::to_string(info_.size);
    event.cause = size_before_ == 0            ? "it has " + size + " bytes"
                  : size_before_ == info_.size ? "it has " + size + " bytes, as before"
                                               : growth(size_before_, info_.size);
  }
  events_.push_back(std::move(event));
  bell_.ring();
}

}  // namespace nbdgw::bridge
