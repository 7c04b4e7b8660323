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
  power_on_.configure(config_.power_on);
  info_.name = config_.name;
  info_.description = config_.description;
  info_.max_payload = config_.max_payload;
}

Export::~Export() = default;

void Export::retune(const ExportConfig& config, proto::Micros now) {
  NBDGW_ASSERT(config.name == config_.name && config.lun == config_.lun && config.read_only == config_.read_only,
               "what makes an export another one does not change");
  config_.description = info_.description = config.description;
  config_.queue_depth = config.queue_depth;
  config_.retries = config.retries;
  config_.hold_timeout = config.hold_timeout;
  config_.power_on = config.power_on;
  power_on_.configure(config.power_on);
  queue_.configure_depth(config.queue_depth);
  if (hold_expired_) {
    hold_expired_ = false;
    hold_expired_ = hold_expiry() <= now;
  }
  pump(now);
}

CacheLegacy Export::cache_legacy(proto::Micros now) const noexcept {
  return {.cache = cache_,
          .seen_at = held_since_ == proto::kNever ? now : held_since_,
          .path_was_up = session_up_ && known_,
          .disk = unit_.identity(),
          .power_on = power_on_.learnt()};
}

void Export::inherit(const CacheLegacy& legacy) noexcept {
  NBDGW_ASSERT(!session_up_ && !known_, "an inheritance comes before the first session");
  cache_ = legacy.cache;
  known_when_online_ = cache_.known();
  inherited_from_ = legacy.seen_at;
  inherited_path_ = legacy.path_was_up;
  unit_.expect(legacy.disk);
  power_on_.restore(legacy.power_on);
}

void Export::on_session_up(proto::Micros outage, proto::Micros now, Login login) {
  if (inherited_from_ != proto::kNever) {
    outage = std::max(outage, now - inherited_from_);
    // The export before this one was taken away with its session: that has ended by our own logout.
    if (inherited_path_ && login == Login::after_loss) login = Login::after_own;
  }
  inherited_from_ = proto::kNever;
  session_up_ = true;
  power_on_.on_login(login == Login::after_own, outage);
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

void Export::on_unit_reset(proto::Micros now) {
  ++counters_.unit_resets;
  if (!session_up_) return;  // the next login says what is to be expected
  power_on_.on_reset();
  enter(ExportState::probing, "the LUN was reset and is being probed", now);
  unit_.probe(now);
}

void Export::on_probe_done(LogicalUnit& unit, proto::Micros now) {
  if (!session_up_) return;  // an answer from before the session was lost: there will be another probe
  ++counters_.probes;
  if (unit.state() == LogicalUnit::State::ready) {
    power_on_.on_probed();
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
  info_.disk = facts.identity();
  info_.read_only = config_.read_only || facts.write_protected;
  info_.rotational = facts.medium == device::Medium::rotating;
  info_.preferred_block =
      std::clamp(std::max(facts.block_length, facts.physical_block_length), kPreferredBlock, kMaxPart);
  refresh_abilities();
  enter(ExportState::online, "", now);
}

void Export::on_unit_notes(LogicalUnit& unit, const device::Notes& notes, proto::Micros now) {
  take_notes(notes, unit.last_command(), known_when_online_);
  // The probe itself begins anew where it must; only what is under way is left to be doubted.
  if (notes.identity_in_doubt) {
    ++doubts_;
    news_ = std::max(news_, UnitNews::unit);
  } else {
    look_again(notes, unit.last_command(), now);
  }
}

/// Counts, and draws the conclusions that are not about what the LUN is. `sent`: what was known of the cache when the
/// command was sent.
void Export::take_notes(const device::Notes& notes, const initiator::ScsiCommand& command,
                        const CacheLedger::Known& sent) {
  if (notes.unit_attention) ++counters_.unit_attentions;
  if (notes.power_on && power_on_.explained()) ++counters_.power_on_explained;
  const bool lost_power = notes.power_on && power_on_.on_attention();
  if (lost_power || notes.cache_may_be_lost) cache_may_be_lost(sent, device::explain(command));
  if (notes.inventory_changed) news_ = UnitNews::inventory;
  if (notes.threshold_reached) {
    ++counters_.threshold_reports;
    tell(CacheEvent::Kind::threshold, device::explain(command));
  }
  if (notes.queue_full) {
    ++counters_.queue_full;
    queue_.lower_depth();
  }
}

/// The unit looks again at what one of our commands has told may have changed; requests wait meanwhile, for it might
/// be another disk now.
void Export::look_again(const device::Notes& notes, const initiator::ScsiCommand& command, proto::Micros now) {
  if (notes.identity_in_doubt) {
    news_ = std::max(news_, UnitNews::unit);
    return doubt_identity(device::explain(command), now);
  }
  if (!notes.capacity_changed && !notes.facts_changed) return;
  unit_.note(notes, now);
  if (state_ == ExportState::online && unit_.state() != LogicalUnit::State::ready) {
    enter(ExportState::probing, "the LUN reports a change and is being probed", now);
  }
}

void Export::on_unit_event(const std::string& why, proto::Micros now) {
  if (!session_up_) return;  // the next login leads to a probe anyway
  doubt_identity(why, now);
}

void Export::doubt_identity(const std::string& why, proto::Micros now) {
  ++doubts_;
  ++counters_.identity_doubts;
  transport_.recall(config_.lun);
  unit_.note({.identity_in_doubt = true}, now);
  if (state_ != ExportState::online) return;
  in_question_ = true;
  tell(CacheEvent::Kind::in_question, why);
  enter(ExportState::probing, "another disk may be behind the LUN now (" + why + "): it is being probed", now);
}

/// The one place where the state changes. Every change is possible: the session comes and goes as it likes, and the
/// probe may say anything. The caller calls pump() at the end of its step.
void Export::enter(ExportState state, std::string reason, proto::Micros now) {
  if (state_ == ExportState::online && state == ExportState::offline) ++counters_.path_losses;
  if (state_ == ExportState::online) known_when_online_ = cache_.known();
  if (state == ExportState::refused && state_ != ExportState::refused) {
    in_question_ = false;
    tell(CacheEvent::Kind::refused, reason);
  }
  if (state == ExportState::online) {
    if (std::exchange(in_question_, false)) tell(CacheEvent::Kind::confirmed, reason_);
    held_since_ = proto::kNever;
    hold_expired_ = false;
  } else if (held_since_ == proto::kNever && known_) {
    held_since_ = now;
  }
  if (state != ExportState::refused) recheck_at_ = proto::kNever;
  state_ = state;
  reason_ = std::move(reason);
}

void Export::tell(CacheEvent::Kind kind, std::string cause) {
  events_.push_back({.kind = kind, .lun = config_.lun, .writes = 0, .requests = 0, .cause = std::move(cause)});
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

/// When requests begin to fail for want of a path; kNever: not, or they do so already.
proto::Micros Export::hold_expiry() const noexcept {
  if (held_since_ == proto::kNever || hold_expired_ || config_.hold_timeout == proto::kNever) return proto::kNever;
  return held_since_ + config_.hold_timeout;
}

proto::Micros Export::next_deadline() const noexcept {
  return std::min({queue_.next_due(), recheck_at_, unit_.next_deadline(), hold_expiry()});
}

void Export::on_deadline(proto::Micros now) {
  unit_.on_deadline(now);
  if (recheck_at_ <= now) {
    recheck_at_ = proto::kNever;
    unit_.refresh_capacity(now);
  }
  if (hold_expiry() <= now) {
    hold_expired_ = true;
    ++counters_.hold_timeouts;
  }
  queue_.release_due(now);
  pump(now);
}

}  // namespace nbdgw::bridge
