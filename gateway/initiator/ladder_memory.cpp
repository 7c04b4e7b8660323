#include "gateway/initiator/ladder_memory.hpp"

#include <algorithm>

#include "gateway/initiator/scsi_command.hpp"
#include "gateway/initiator/task.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {
namespace {

Rung above(Rung rung) noexcept {
  switch (rung) {
    case Rung::abort_task:
      return Rung::lu_reset;
    case Rung::lu_reset:
      return Rung::target_warm_reset;
    default:
      return Rung::session_reset;
  }
}

}  // namespace

const LadderMemory::Lun* LadderMemory::find(std::uint64_t lun) const noexcept {
  const auto found = std::ranges::find(luns_, lun, &Lun::lun);
  return found == luns_.end() ? nullptr : &*found;
}

LadderMemory::Lun& LadderMemory::of(std::uint64_t lun) {
  if (Lun* const known = find(lun)) return *known;
  if (luns_.size() == kMaxLuns) {
    in_trouble_ -= luns_.front().highest.has_value() ? 1 : 0;
    luns_.erase(luns_.begin());
  }
  return luns_.emplace_back(Lun{.lun = lun});
}

Rung LadderMemory::first_rung(const Task& task, proto::Micros now) {
  const ScsiCommand& command = *task.command;
  const Lun* const lun = find(command.lun);
  if (lun == nullptr || !lun->highest.has_value()) {
    return command.climbs == 1 && worth_a_reset(command.lun, now) ? Rung::lu_reset : Rung::abort_task;
  }
  if (left_alone(command.lun)) return Rung::abort_task;
  const bool sent_after = !proto::serial_less(task.cmd_sn, lun->since);
  return sent_after || lun->times >= kMaxTimes ? above(*lun->highest) : Rung::abort_task;
}

bool LadderMemory::worth_a_reset(std::uint64_t lun, proto::Micros now) {
  Lun& entry = of(lun);
  if (now < entry.rests_until) return false;
  const bool anew = entry.rest == 0 || now >= entry.rests_until + kLongestRest;
  entry.rest = anew ? kFirstRest : std::min(2 * entry.rest, kLongestRest);
  entry.rests_until = now + entry.rest;
  return true;
}

bool LadderMemory::left_alone(std::uint64_t lun) const noexcept {
  const Lun* const known = find(lun);
  return known != nullptr && known->highest == Rung::session_reset && known->others_work;
}

void LadderMemory::tried(std::uint64_t lun, Rung rung, std::uint32_t next_cmd_sn) {
  NBDGW_ASSERT(rung == Rung::abort_task || rung == Rung::lu_reset || rung == Rung::target_warm_reset ||
                   rung == Rung::session_reset,
               "a rung that the ladder climbs by itself");
  Lun& entry = of(lun);
  if (!entry.highest.has_value()) {
    ++in_trouble_;
    entry.times = 0;
    entry.others_work = false;
  }
  if (entry.highest > rung) return;  // an empty one is less than any
  if (entry.highest < rung) {
    entry.times = 0;
    entry.others_work = false;
  }
  entry.highest = rung;
  entry.times = static_cast<std::uint8_t>(std::min(entry.times + 1, int{kMaxTimes}));
  entry.since = next_cmd_sn;
}

void LadderMemory::on_session_up(std::uint32_t next_cmd_sn) noexcept {
  for (Lun& entry : luns_) entry.since = next_cmd_sn;
}

void LadderMemory::ended_well(std::uint64_t lun, std::uint32_t cmd_sn) noexcept {
  for (Lun& entry : luns_) {
    if (!entry.highest.has_value() || proto::serial_less(cmd_sn, entry.since)) continue;
    if (entry.lun == lun) {
      entry.highest.reset();
      --in_trouble_;
    } else {
      entry.others_work = true;
    }
  }
}

void LadderMemory::on_reset_by_others(std::uint64_t lun, proto::Micros now) {
  Lun& entry = of(lun);
  const bool first = entry.reset_by_others_at == proto::kNever || now - entry.reset_by_others_at > kDispute;
  if (first) entry.pauses = 0;
  entry.reset_by_others_at = now;
}

bool LadderMemory::must_pause(std::uint64_t lun, proto::RandomSource& random, proto::Micros now) {
  Lun* const entry = find(lun);
  if (entry == nullptr || entry->reset_by_others_at == proto::kNever || NBDGW_MUTANT(reset_for_reset)) return false;
  if (entry->paused) {
    if (now < entry->paused_until) return true;
    entry->paused = false;
    return false;
  }
  if (now - entry->reset_by_others_at > kDispute) return false;
  const proto::Micros longest = std::min(kFirstPause << std::min<int>(entry->pauses, 8), kLongestPause);
  entry->pauses = static_cast<std::uint8_t>(std::min(entry->pauses + 1, 255));
  entry->paused = true;
  entry->paused_until = now + longest / 4 + proto::random_below(random, static_cast<std::uint32_t>(longest * 3 / 4));
  return true;
}

proto::Micros LadderMemory::paused_until(std::uint64_t lun) const noexcept {
  const Lun* const entry = find(lun);
  return entry == nullptr ? 0 : entry->paused_until;
}

}  // namespace nbdgw::initiator
