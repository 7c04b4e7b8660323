// What happens to LUNs.
#include <algorithm>

#include "tests/sim/target/array.hpp"
#include "tests/sim/target/mischief.hpp"

namespace nbdgw::sim {

void Mischief::trouble(LogicalUnit& unit) {
  tell(unit);
  if (draws(Fault::reset_by_others)) {
    array_.executor.end_all_of(unit, array_.habits().task_aborted_status);
    unit.raise(array_.faults.random(Fault::reset_by_others).chance(0.5) ? scsi::kBusReset : scsi::kUnitReset);
  }
  if (!unit.hangs() && draws(Fault::unit_hangs)) hang(unit);
  if (!unit.write_protected() && draws(Fault::write_protected)) protect(unit);
  if (draws(Fault::identity_unreadable)) hide_identity(unit);
  if (unit.medium() != unit.home()) return;
  if (draws(Fault::capacity_grown)) grow(unit);
  if (draws(Fault::unit_unmapped)) return unmap(unit);
  if (draws(Fault::unit_remapped)) return remap(unit);
}

void Mischief::tell(LogicalUnit& unit) {
  if (draws(Fault::thin_threshold)) unit.raise(scsi::kThinThreshold);
  if (draws(Fault::inquiry_changed)) unit.raise(scsi::kInquiryChanged);
}

void Mischief::hang(LogicalUnit& unit) {
  Random& random = array_.faults.random(Fault::unit_hangs);
  unit.hang(static_cast<std::uint8_t>(random.between(LogicalUnit::kCuredByAbort, LogicalUnit::kOnlyTime)));
  array_.after(array_.faults.outage(Fault::unit_hangs), [this, &unit] {
    if (unit.cure(LogicalUnit::kOnlyTime)) array_.executor.on_unit_cured(unit);
  });
}

void Mischief::protect(LogicalUnit& unit) {
  unit.set_write_protected(true);
  unit.raise(scsi::kModeChanged);
  array_.after(array_.faults.outage(Fault::write_protected), [&unit] {
    if (!unit.write_protected()) return;
    unit.set_write_protected(false);
    unit.raise(scsi::kModeChanged);
  });
}

void Mischief::hide_identity(LogicalUnit& unit) {
  unit.set_identity_readable(false);
  if (array_.faults.random(Fault::identity_unreadable).chance(0.7)) unit.raise(scsi::kInquiryChanged);
  array_.after(array_.faults.outage(Fault::identity_unreadable), [&unit] { unit.set_identity_readable(true); });
}

/// Not beyond twice of what it was at first.
void Mischief::grow(LogicalUnit& unit) {
  Medium& medium = *unit.medium();
  const auto place = std::ranges::find_if(array_.media, [&](const auto& each) { return each.get() == &medium; });
  const std::uint64_t first = array_.options.media[static_cast<std::size_t>(place - array_.media.begin())].blocks;
  Random& random = array_.faults.random(Fault::capacity_grown);
  const auto more = static_cast<std::uint64_t>(random.spread(1, static_cast<std::int64_t>(first / 8 + 1)));
  medium.grow(std::min(medium.blocks() + more, 2 * first));
  if (random.chance(0.7)) unit.raise(scsi::kCapacityChanged);
}

void Mischief::unmap(LogicalUnit& unit) {
  unit.map(nullptr);
  array_.after(array_.faults.outage(Fault::unit_unmapped), [this, &unit, change = unit.change()] {
    if (unit.change() == change) bring_home(unit);
  });
}

/// A disk that is not mapped elsewhere, as another one would be found twice.
Medium* Mischief::spare_medium() {
  const auto is_home = [this](const Medium& medium) {
    return std::ranges::any_of(
        array_.units.all(), [&](const auto& unit) { return unit->home() == &medium || unit->medium() == &medium; });
  };
  for (const auto& medium : array_.media) {
    if (!is_home(*medium)) return medium.get();
  }
  return nullptr;
}

/// Another disk is there, at once or after a while without any, and later the old one again. A change at once is
/// told.
void Mischief::remap(LogicalUnit& unit) {
  Medium* const other = spare_medium();
  // Before the right one was seen nobody can tell that this is another one.
  if (other == nullptr || !unit.was_used()) return;
  FaultDesk& faults = array_.faults;
  Random& random = faults.random(Fault::unit_remapped);
  const bool quiet = array_.habits().quiet_changes;
  const bool at_once = random.chance(0.4) && !quiet;
  const bool told = at_once || (random.chance(0.7) && !quiet);
  unit.map(at_once ? other : nullptr);
  if (at_once) {
    come_without_a_name(unit);
    unit.raise(scsi::kLunsChanged);
  }
  const Micros gap = at_once ? 0 : faults.outage(Fault::unit_remapped);
  if (!at_once) {
    array_.after(gap, [this, &unit, told, change = unit.change()] {
      Medium* const spare = spare_medium();
      if (unit.change() != change || spare == nullptr) return;
      unit.map(spare);
      come_without_a_name(unit);
      if (told) unit.raise(scsi::kLunsChanged);
    });
  }
  array_.after(gap + faults.outage(Fault::unit_remapped), [this, &unit] { bring_home(unit); });
}

/// Nobody may take another disk for the right one because it does not say who it is.
void Mischief::come_without_a_name(LogicalUnit& unit) {
  FaultDesk& faults = array_.faults;
  if (faults.may_strike(Fault::identity_unreadable) && faults.random(Fault::unit_remapped).chance(0.5)) {
    unit.set_identity_readable(false);
  }
}

void Mischief::bring_home(LogicalUnit& unit) {
  if (unit.medium() == unit.home()) return;
  unit.map(unit.home());
  if (array_.faults.may_strike(Fault::identity_unreadable)) unit.set_identity_readable(true);
  if (!array_.habits().quiet_changes || array_.faults.healed()) unit.raise(scsi::kLunsChanged);
}

}  // namespace nbdgw::sim
