#include "tests/sim/checkers/disk_checker.hpp"

#include <algorithm>
#include <string>

#include "gateway/bridge/limits.hpp"
#include "tests/sim/target/target_connection.hpp"
#include "tests/sim/target/target_session.hpp"

namespace nbdgw::sim {

const Disk* DiskChecker::disk_of(const Medium* home) const noexcept {
  const auto found = std::ranges::find(disks_, home, &Disk::home);
  return found == disks_.end() ? nullptr : *found;
}

void DiskChecker::on_write(const CommandTable& table, const WriteEvent& event) {
  if (!is_home(event.medium)) met(table, event.origin, "writes to");
}

void DiskChecker::on_read(const CommandTable& table, const Medium& medium, const Origin& origin) {
  if (!is_home(medium)) met(table, origin, "reads from");
}

void DiskChecker::on_sync(const Medium& medium, const Origin& origin) {
  if (is_home(medium)) return;
  ++strays_;
  if (const Disk* const disk = disk_of(origin.home)) disk->oracle->flush_went_astray();
}

void DiskChecker::met(const CommandTable& table, const Origin& origin, const char* what) {
  const Disk* const disk = disk_of(origin.home);
  if (disk == nullptr) return;  // it came before there was a unit
  if (origin.warned) {
    return complaints_.complain("disk", disk->exported + ": session " + std::to_string(origin.session) + ", CmdSN " +
                                            std::to_string(origin.cmd_sn) + " " + what +
                                            " another disk, although the gateway had been told");
  }
  look_for_silence(table, *disk, origin);
  ++strays_;
  unanswered_.insert({disk->number, origin.record});
}

void DiskChecker::look_for_silence(const CommandTable& table, const Disk& disk, const Origin& origin) {
  const TargetCommand* command = table.first();
  while (command != nullptr && command->origin.record != origin.record) command = command->behind;
  if (command == nullptr || command->session == nullptr) return;
  const auto undisturbed = [](const TargetConnection* each) { return each->disturbed_at() == 0; };
  if (!std::ranges::all_of(command->session->connections(), undisturbed)) return;
  const CommandRecord& record = table.records()[origin.record];
  Micros heard_at = -1;
  for (const CommandRecord& other : table.records()) {
    if (&other == &record) break;
    if (other.session == record.session && other.lun == record.lun) heard_at = std::max(heard_at, other.over_at);
  }
  if (heard_at < 0 || record.at - heard_at <= bridge::kTrustedSilence + lag_) return;
  complaints_.complain("disk", disk.exported + ": session " + std::to_string(origin.session) + ", CmdSN " +
                                   std::to_string(origin.cmd_sn) + " has met another disk after a silence of " +
                                   std::to_string(record.at - heard_at) +
                                   " us, and nobody has asked the LUN before which one it is");
}

void DiskChecker::on_unwarned_answer(const CommandTable& table, const Origin& origin, bool knows) {
  const Disk* const disk = disk_of(origin.home);
  if (disk == nullptr || unanswered_.erase({disk->number, origin.record}) == 0 || knows) return;
  const CommandRecord& record = table.records()[origin.record];
  const std::uint64_t cells = disk->home->block_size() / Oracle::kCell;
  disk->oracle->forget(record.lba * cells, record.blocks * cells);
}

}  // namespace nbdgw::sim
