#include <algorithm>
#include <utility>

#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"

/// The path to the LUN, and the LUN itself: whether requests run, are held or fail.
namespace nbdgw::bridge {

using device::LogicalUnit;

Export::Export(ExportConfig config, proto::BufferPool& pool, initiator::CommandTransport& transport)
    : config_(std::move(config)),
      pool_(pool),
      transport_(transport),
      requests_(config_.requests),
      segments_(config_.segments),
      queue_(config_.queue_depth),
      unit_(transport, config_.lun, this) {
  NBDGW_ASSERT(config_.queue_depth > 0 && config_.requests > 0, "an export can do something");
  // A request that can never be had would make its connection wait for ever.
  NBDGW_ASSERT(config_.segments >= segments_for(config_.max_payload), "segments for the largest request");
  NBDGW_ASSERT(pool_.capacity() >= memory_for(config_.max_payload), "memory for the largest request");
  info_.name = config_.name;
  info_.description = config_.description;
  info_.max_payload = config_.max_payload;
}

Export::~Export() = default;

void Export::on_session_up(proto::Micros now) {
  session_up_ = true;
  refused_ = {};
  // Every login may have led to another array, or to one where the LUN was changed meanwhile.
  enter(ExportState::probing, "the LUN is being probed", now);
  unit_.probe(now);
}

void Export::on_session_down(const std::string& reason, proto::Micros now) {
  session_up_ = false;
  enter(ExportState::offline, reason, now);
  pump(now);
}

void Export::on_probe_done(LogicalUnit& unit, proto::Micros now) {
  if (!session_up_) return;  // an answer from before the session was lost: there will be another probe
  ++counters_.probes;
  if (unit.state() == LogicalUnit::State::ready) {
    accept_facts(unit.facts(), now);
  } else {
    ++counters_.probe_failures;
    const LogicalUnit::Failure failure = unit.failure_reason();
    const bool another_disk = failure == LogicalUnit::Failure::identity_changed ||
                              failure == LogicalUnit::Failure::not_a_disk ||
                              failure == LogicalUnit::Failure::geometry;
    // The unit tries again by itself; only what is certainly not the disk we know is turned down meanwhile.
    enter(another_disk && known_ ? ExportState::refused : ExportState::offline, unit.failure(), now);
  }
  pump(now);
}

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
  known_ = true;
  info_.size = size;
  info_.read_only = config_.read_only || facts.write_protected;
  info_.rotational = facts.medium == device::Medium::rotating;
  info_.preferred_block =
      std::clamp(std::max(facts.block_length, facts.physical_block_length), kPreferredBlock, kMaxPart);
  refresh_abilities();
  enter(ExportState::online, "", now);
}

void Export::on_unit_notes(LogicalUnit&, const device::Notes& notes, proto::Micros now) {
  take_notes(notes, now);
}

void Export::count_notes(const device::Notes& notes) noexcept {
  if (notes.unit_attention) ++counters_.unit_attentions;
  if (notes.cache_may_be_lost) ++counters_.cache_loss_reports;
  if (notes.queue_full) {
    ++counters_.queue_full;
    queue_.lower_depth();
  }
}

/// What the end of one of our commands told about the unit. The unit looks again at what may have changed; requests
/// wait meanwhile, for it might be another disk now.
void Export::take_notes(const device::Notes& notes, proto::Micros now) {
  if (!notes.any()) return;
  count_notes(notes);
  if (!notes.capacity_changed && !notes.facts_changed) return;
  unit_.note(notes, now);
  if (state_ == ExportState::online && unit_.state() != LogicalUnit::State::ready) {
    enter(ExportState::probing, "the LUN reports a change and is being probed", now);
  }
}

/// The one place where the state changes. Every change is possible: the session comes and goes as it likes, and the
/// probe may say anything. The caller calls pump() at the end of its step.
void Export::enter(ExportState state, std::string reason, proto::Micros now) {
  if (state_ == ExportState::online && state == ExportState::offline) ++counters_.path_losses;
  if (state == ExportState::online) {
    held_since_ = proto::kNever;
    hold_expired_ = false;
  } else if (held_since_ == proto::kNever && known_) {
    held_since_ = now;
  }
  if (state != ExportState::refused) recheck_at_ = proto::kNever;
  state_ = state;
  reason_ = std::move(reason);
}

void Export::refresh_abilities() noexcept {
  const std::uint32_t block = can_.block;
  const bool had_requests = requests_.used() > 0;
  can_ = abilities_of(unit_.facts(), refused_, config_.lun);
  NBDGW_ASSERT(!had_requests || can_.block == block, "the block length does not change under requests");
}

ExportStatus Export::status() const {
  return {state_, reason_, known_};
}

proto::Micros Export::next_deadline() const noexcept {
  proto::Micros next = std::min({queue_.next_due(), recheck_at_, unit_.next_deadline()});
  if (held_since_ != proto::kNever && !hold_expired_) next = std::min(next, held_since_ + config_.hold_timeout);
  return next;
}

void Export::on_deadline(proto::Micros now) {
  unit_.on_deadline(now);
  if (recheck_at_ <= now) {
    recheck_at_ = proto::kNever;
    unit_.refresh_capacity(now);
  }
  if (held_since_ != proto::kNever && !hold_expired_ && now - held_since_ >= config_.hold_timeout) {
    hold_expired_ = true;
    ++counters_.hold_timeouts;
  }
  queue_.release_due(now);
  pump(now);
}

}  // namespace nbdgw::bridge
