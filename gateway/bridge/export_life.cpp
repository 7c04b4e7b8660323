#include <algorithm>
#include <utility>

#include "gateway/bridge/attached.hpp"
#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// The path to the LUN, and the LUN itself: whether requests run, are held or fail.
namespace nbdgw::bridge {

using device::LogicalUnit;

Export::Export(ExportConfig config, Shares& shares, initiator::CommandTransport& transport, DiskDirectory* directory,
               proto::Micros now)
    : config_(std::move(config)),
      pool_(shares.pool()),
      share_(shares, *this, config_.requests, config_.segments),
      transport_(transport),
      directory_(directory),
      requests_(config_.requests + shares.reserved_clients()),
      segments_(config_.segments + shares.reserved_clients()),
      queue_(config_.queue_depth),
      unit_(transport, config_.lun, this),
      down_since_(now) {
  NBDGW_ASSERT(config_.queue_depth > 0 && config_.requests > 0, "an export can do something");
  // A request that can never be had would make its connection wait for ever.
  NBDGW_ASSERT(config_.segments >= segments_for(config_.max_payload), "segments for the largest request");
  disk_->exports.push_back(this);
  power_on_.configure(config_.power_on);
  info_.name = config_.name;
  info_.description = config_.description;
  on_divided();
}

/// A READ for which there can never be memory is not to be waited for.
void Export::on_divided() noexcept {
  info_.max_payload = std::min(config_.max_payload, payload_for(share_.shares().most()));
}

Export::~Export() {
  if (directory_ != nullptr) directory_->leave(*this);
  if (stuck_) --disk_->stuck_exports;
  std::erase(disk_->exports, this);
  leave_record();
  // Only at the end of all: otherwise it is idle.
  const auto leave = [&](auto& held) {
    if (held.fence.state() != Fence::State::outside) disk_->fence.leave(held.fence, [](Fence::Entry&) {});
  };
  requests_.for_each(leave);
  segments_.for_each(leave);
}

void Export::retune(const ExportConfig& config, proto::Micros now) {
  NBDGW_ASSERT(config.name == config_.name && config.lun == config_.lun && config.read_only == config_.read_only,
               "what makes an export another one does not change");
  config_.description = info_.description = config.description;
  config_.queue_depth = config.queue_depth;
  config_.retries = config.retries;
  config_.hold_timeout = config.hold_timeout;
  config_.power_on = config.power_on;
  config_.same_disk = config.same_disk;
  config_.silence = config.silence;
  power_on_.configure(config.power_on);
  queue_.configure_depth(config.queue_depth);
  if (hold_expired_) {
    hold_expired_ = false;
    hold_expired_ = hold_expiry() <= now;
    if (!hold_expired_) hold_over(now);
  }
  look_at_stuck(now);
  pump(now);
  bell_.ring();
}

std::unique_ptr<nbd::Attachment> Export::attach(const nbd::Attaching& who) {
  auto attached = std::make_unique<Attached>(disk_, *this, who);
  if (attached->unknown()) {
    disk_->cache_report =
        "that a client was attached before, and nothing is known here of what it wrote and did not flush (no record "
        "of "
        "the process before this one, or another gateway's client)";
    tell_doubt(true);
  }
  return attached;
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
  if (record_ != nullptr) record_->unjudged = 1;
  refused_ = {};
  // Every login may have led to another array, or to one where the LUN was changed meanwhile.
  enter(ExportState::probing, "the LUN is being probed", now);
  unit_.probe(now);
}

void Export::on_session_down(const std::string& reason, proto::Micros now) {
  session_up_ = false;
  enter(ExportState::offline, reason, now);
  rescan_over();
  look_at_stuck(now);
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
  heard_at_ = now;
  looking_ = false;
  // It was asked while the export was online, and is the disk that it was, of the same size.
  const bool ready = unit.state() == LogicalUnit::State::ready;
  if (state_ == ExportState::online && ready && unit.facts().capacity_bytes() == info_.size) return pump(now);
  ++counters_.probes;
  if (ready && looks_twice(unit.facts())) {
    unit_.probe(now);
    return pump(now);
  }
  if (ready) {
    power_on_.on_probed();
    record_disk();
    if (record_ != nullptr) {
      record_->unjudged = 0;
      if (!transport_.suspects(config_.lun)) record_->left_before = 0;
      if (const auto here = record_->place(0)) record_left(&*here);
    }
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
  rescan_over();
  pump(now);
}

/// False: the disk is served by another export, and this one is not to serve it, too.
bool Export::enter_directory(const device::Facts& facts, proto::Micros now) {
  if (directory_ == nullptr || !facts.identity().known()) return true;
  DiskDirectory::Others others = directory_->enter(*this, facts.identity());
  if (!known_ && config_.same_disk == SameDiskPolicy::refuse && !(others.apart + others.together).empty()) {
    directory_->leave(*this);
    recheck_at_ = now + kRecheckInterval;
    enter(ExportState::refused,
          "its disk is served by another export already (" + others.together +
              (others.together.empty() || others.apart.empty() ? "" : ", ") + others.apart +
              "), and it is configured not to share it (same_disk: refuse)",
          now);
    return false;
  }
  if (others.disk != nullptr && others.disk != disk_ && !NBDGW_MUTANT(one_disk_two_fences)) {
    // What is under way stays in the fence where it is; and a fence counts in blocks.
    if (requests_.used() == 0 && others.disk->block == facts.block_length) {
      share(std::move(others.disk));
    } else {
      others.apart += (others.apart.empty() ? "" : ", ") + others.together;
    }
  }
  disk_->block = facts.block_length;
  if (others.apart != same_disk_) {
    same_disk_ = std::move(others.apart);
    if (!same_disk_.empty()) tell(CacheEvent::Kind::same_disk, same_disk_);
  }
  return true;
}

void Export::share(std::shared_ptr<Disk> disk) {
  NBDGW_ASSERT(requests_.used() == 0 && !stuck_, "nothing is under way in the fence that is left");
  CacheNumbers numbers = disk_->cache.numbers();
  if (disk_->exports.size() > 1) numbers.drop_debts();  // they stay with those that it is shared with so far
  disk->cache.absorb(numbers);
  if (disk_->exports.size() == 1) disk->cache.take_absent(disk_->cache);
  Attached::move_all(*this, disk_, disk);
  std::erase(disk_->exports, this);
  leave_record();
  if (record_ != nullptr) record_->cache = {};  // it is counted in the other disk's from now on
  disk_ = std::move(disk);
  disk_->exports.push_back(this);
  if (disk_->cache.kept_in() == nullptr && record_ != nullptr) disk_->cache.keep_in(record_);
  known_when_online_ = disk_->cache.known();
  stuck_seen_ = disk_->stuck_changes;
}

void Export::on_unit_notes(LogicalUnit& unit, const device::Notes& notes, proto::Micros now) {
  take_notes(notes, unit.last_command(), known_when_online_, now);
  // The probe itself begins anew where it must; only what is under way is left to be doubted.
  if (notes.identity_in_doubt) {
    news_ = std::max(news_, UnitNews::unit);
    if (state_ == ExportState::online) {
      begin_doubt(
          looking_ ? "after a silence it answered that it is another one" : device::explain(unit.last_command()),
          now);
    } else {
      ++doubts_;
    }
  } else {
    if (!notes.not_ready) look_again(notes, unit.last_command(), now);
  }
}

/// Counts, and draws the conclusions that are not about what the LUN is. `sent`: what was known of the cache when the
/// command was sent.
void Export::take_notes(const device::Notes& notes, const initiator::ScsiCommand& command,
                        const CacheLedger::Known& sent, proto::Micros now) {
  bell_.ring();
  if (notes.unit_attention) ++counters_.unit_attentions;
  if (notes.power_on && power_on_.explained()) ++counters_.power_on_explained;
  const bool lost_power = notes.power_on && power_on_.on_attention();
  if (lost_power || notes.cache_may_be_lost) cache_may_be_lost(sent, device::explain(command));
  if (notes.inventory_changed) news_ = UnitNews::inventory;
  if (notes.threshold_reached) {
    ++counters_.threshold_reports;
    const bool told = threshold_told_at_ != proto::kNever && now - threshold_told_at_ < kThresholdInterval;
    if (!told) {
      threshold_told_at_ = now;
      tell(CacheEvent::Kind::threshold, device::explain(command));
    }
  }
  if (notes.queue_full) {
    ++counters_.queue_full;
    // Where the unit's own question was the only command, its refusal says nothing about how many are too many.
    if (&command != &unit_.last_command() || queue_.under_way() > 0) queue_.lower_depth(now);
  }
}

/// The unit looks again at what one of our commands has told may have changed; requests wait meanwhile, for it might
/// be another disk now.
void Export::look_again(const device::Notes& notes, const initiator::ScsiCommand& command, proto::Micros now) {
  if (notes.identity_in_doubt && !NBDGW_MUTANT(change_of_disk_unheard)) {
    news_ = std::max(news_, UnitNews::unit);
    return doubt_identity(device::explain(command), now);
  }
  if (!notes.capacity_changed && !notes.facts_changed && !notes.not_ready) return;
  if (notes.facts_changed) refused_ = {};  // another firmware, maybe: what it could not do it may be able to do now
  device::Notes change = notes;
  change.facts_changed = notes.facts_changed || notes.not_ready;
  unit_.note(change, now);
  if (state_ == ExportState::online && unit_.state() != LogicalUnit::State::ready) {
    enter(ExportState::probing, "it is being probed, for it has answered " + device::explain(command), now);
  }
}

void Export::on_unit_answer(const initiator::ScsiCommand& command, proto::Micros now) {
  if (!session_up_) return;
  device::Attempts attempts{.attentions_expected = true};
  const device::Notes notes = device::decide(command, device::CommandKind::other, attempts).notes;
  if (!notes.any()) return;
  take_notes(notes, command, disk_->cache.known(), now);
  look_again(notes, command, now);
  pump(now);
}

void Export::on_unit_event(const std::string& why, proto::Micros now) {
  if (!session_up_) return;  // the next login leads to a probe anyway
  doubt_identity(why, now);
}

void Export::doubt_identity(const std::string& why, proto::Micros now) {
  bell_.ring();
  begin_doubt(why, now);
  unit_.note({.identity_in_doubt = true}, now);
}

/// The probe that it takes is another matter.
void Export::begin_doubt(const std::string& why, proto::Micros now) {
  ++doubts_;
  ++counters_.identity_doubts;
  if (!NBDGW_MUTANT(waiting_commands_not_recalled)) transport_.recall(config_.lun);
  if (state_ != ExportState::online) return;
  in_question_ = true;
  tell(CacheEvent::Kind::in_question, why);
  enter(ExportState::probing, "another disk may be behind the LUN now (" + why + "): it is being probed", now);
}

/// The one place where the state changes. Every change is possible: the session comes and goes as it likes, and the
/// probe may say anything. The caller calls pump() at the end of its step.
void Export::enter(ExportState state, std::string reason, proto::Micros now) {
  if (state_ == ExportState::online && state == ExportState::offline) ++counters_.path_losses;
  if (state_ == ExportState::online) known_when_online_ = disk_->cache.known();
  if (state == ExportState::refused && state_ != ExportState::refused) {
    in_question_ = false;
    tell(CacheEvent::Kind::refused, reason);
  }
  if (state == ExportState::online) {
    if (std::exchange(in_question_, false)) tell(CacheEvent::Kind::confirmed, reason_);
    if (std::exchange(hold_expired_, false)) hold_over(now);
    held_since_ = down_since_ = proto::kNever;
  } else if (held_since_ == proto::kNever && known_) {
    held_since_ = now;
  }
  if (state_ == ExportState::online && state != ExportState::online) down_since_ = now;
  if (state != ExportState::refused) recheck_at_ = proto::kNever;
  if (state != ExportState::online) looking_ = false;
  state_ = state;
  reason_ = std::move(reason);
  bell_.ring();
}

void Export::tell(CacheEvent::Kind kind, std::string cause) {
  events_.push_back({.kind = kind, .lun = config_.lun, .writes = 0, .requests = 0, .cause = std::move(cause)});
  bell_.ring();
}

void Export::refresh_abilities() noexcept {
  const std::uint32_t block = can_.block;
  const bool had_requests = requests_.used() > 0;
  can_ = abilities_of(unit_.facts(), refused_, config_.lun);
  NBDGW_ASSERT(!had_requests || can_.block == block, "the block length does not change under requests");
}

bool Export::path_unusable() const noexcept {
  if (!session_up_ || state_ != ExportState::offline) return false;
  const LogicalUnit::Failure failure = unit_.failure_reason();
  return failure == LogicalUnit::Failure::not_ready || failure == LogicalUnit::Failure::not_there;
}

ExportStatus Export::status() const {
  return {state_, reason_, known_};
}

/// When requests begin to fail for want of a path; kNever: not, or they do so already.
proto::Micros Export::hold_expiry() const noexcept {
  if (held_since_ == proto::kNever || hold_expired_ || config_.hold_timeout == proto::kNever) return proto::kNever;
  return held_since_ + config_.hold_timeout;
}

/// Requests begin to fail.
void Export::tell_hold_expired(proto::Micros now) {
  expired_at_ = now;
  failed_before_ = counters_.failed;
  CacheEvent event{.kind = CacheEvent::Kind::hold_expired, .lun = config_.lun, .cause = reason_};
  event.requests = requests_.used();
  event.duration = now - held_since_;
  events_.push_back(std::move(event));
}

/// They do not any more.
void Export::hold_over(proto::Micros now) {
  CacheEvent event{.kind = CacheEvent::Kind::hold_over, .lun = config_.lun, .cause = {}};
  event.requests = counters_.failed - failed_before_;
  event.duration = now - expired_at_;
  events_.push_back(std::move(event));
}

proto::Micros Export::next_deadline() const noexcept {
  const proto::Micros due = NBDGW_MUTANT(delayed_commands_overslept) ? proto::kNever : queue_.next_due();
  return std::min({due, recheck_at_, stuck_at_, unit_.next_deadline(), hold_expiry(), failures_.next_deadline()});
}

void Export::on_deadline(proto::Micros now) {
  bell_.ring();
  unit_.on_deadline(now);
  if (recheck_at_ <= now) {
    recheck_at_ = proto::kNever;
    unit_.refresh_capacity(now);
  }
  if (hold_expiry() <= now) {
    hold_expired_ = true;
    ++counters_.hold_timeouts;
    tell_hold_expired(now);
  }
  failures_.on_deadline(now);
  if (stuck_at_ <= now) look_at_stuck(now);
  queue_.release_due(now);
  pump(now);
}

}  // namespace nbdgw::bridge
