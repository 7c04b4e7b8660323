#include <algorithm>
#include <utility>
#include <vector>

#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// What an export leaves for the one that comes in its place, in this process or the next one, and takes over.
namespace nbdgw::bridge {

void Export::record_in(LunRecord* record) {
  if (disk_->cache.kept_in() == record_) disk_->cache.keep_in(record);
  record_ = record;
  if (record_ == nullptr) return;
  record_->seen_at = inherited_from_;
  if (transport_.suspects(config_.lun)) record_->left_before = 1;
  record_left(nullptr);
  record_disk();
}

/// Where writes are that are not proven to be over, but for those in the group of the session that is there.
void Export::record_left(const initiator::PortalGroup* present) {
  std::size_t used = 1;
  for (const initiator::LeftWrites& left : transport_.left_writes(config_.lun)) {
    if (used == LunRecord::kPlaces) break;
    if (present == nullptr || !initiator::same_group(left.group, *present)) record_->put_place(used++, left.group);
  }
  for (; used < LunRecord::kPlaces; ++used) record_->clear_place(used);
}

/// What was learnt of it.
void Export::record_disk() noexcept {
  if (record_ != nullptr) record_->put_unit(unit_.identity(), power_on_.learnt());
}

void Export::on_session_at(const initiator::PortalGroup& group) {
  if (record_ == nullptr) return;
  record_left(&group);  // first: until then the place of the session before tells of them
  record_->put_place(0, group);
}

CacheLegacy Export::cache_legacy(proto::Micros now) const {
  // Of those who share a disk one tells of who is away.
  const bool tells = disk_->exports.empty() || disk_->exports.front() == this;
  return {.cache = disk_->cache.numbers(),
          .seen_at = held_since_ == proto::kNever ? now : held_since_,
          .path_was_up = session_up_ && known_,
          .disk = unit_.identity(),
          .power_on = power_on_.learnt(),
          .writes_left = leaves_writes(),
          .left = leaves_writes() ? transport_.left_writes(config_.lun) : std::vector<initiator::LeftWrites>(),
          .gap = false,
          .absent = tells ? disk_->cache.absent() : std::vector<CacheLedger::AbsentLegacy>{}};
}

void Export::inherit(const CacheLegacy& legacy) {
  NBDGW_ASSERT(!session_up_ && !known_, "an inheritance comes before the first session");
  if (!NBDGW_MUTANT(ledger_not_inherited)) disk_->cache.restore(legacy.cache);
  disk_->cache_report = "that was reported before the export was made anew, or the gateway restarted";
  known_when_online_ = disk_->cache.known();
  inherited_from_ = legacy.seen_at;
  inherited_path_ = legacy.path_was_up;
  if (legacy.gap) {
    heir_of_ = legacy.disk;
  } else {
    unit_.expect(legacy.disk);
  }
  power_on_.restore(legacy.power_on);
  for (const CacheLedger::AbsentLegacy& absent : legacy.absent) disk_->cache.expect(absent, legacy.seen_at);
  if (legacy.unjudged) disk_->cache.report(disk_->cache.known());
  if (legacy.writes_left) transport_.suspect(config_.lun, legacy.left);
}

/// The disk that it no longer serves is kept in the record of another export that does.
void Export::leave_record() noexcept {
  if (record_ == nullptr || disk_->cache.kept_in() != record_) return;
  if (disk_->exports.empty()) return disk_->cache.leave_record();
  disk_->cache.keep_in(disk_->exports.front()->record_);
  record_->cache = {};
}

}  // namespace nbdgw::bridge
