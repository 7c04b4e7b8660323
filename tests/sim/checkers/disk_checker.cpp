#include "tests/sim/checkers/disk_checker.hpp"

#include <algorithm>
#include <string>

namespace nbdgw::sim {

const Disk* DiskChecker::disk_of(const Medium* home) const noexcept {
  const auto found = std::ranges::find(disks_, home, &Disk::home);
  return found == disks_.end() ? nullptr : *found;
}

void DiskChecker::on_write(const WriteEvent& event) {
  if (!is_home(event.medium)) met(event.origin, "writes to");
}

void DiskChecker::on_read(const Medium& medium, const Origin& origin) {
  if (!is_home(medium)) met(origin, "reads from");
}

void DiskChecker::on_sync(const Medium& medium, const Origin& origin) {
  if (is_home(medium)) return;
  ++strays_;
  if (const Disk* const disk = disk_of(origin.home)) disk->oracle->flush_went_astray();
}

void DiskChecker::met(const Origin& origin, const char* what) {
  const Disk* const disk = disk_of(origin.home);
  if (disk == nullptr) return;  // it came before there was a unit
  if (origin.warned) {
    return complaints_.complain("disk", disk->exported + ": session " + std::to_string(origin.session) + ", CmdSN " +
                                            std::to_string(origin.cmd_sn) + " " + what +
                                            " another disk, although the gateway had been told");
  }
  ++strays_;
  unanswered_.insert({disk->number, origin.record});
}

void DiskChecker::on_unwarned_answer(const CommandTable& table, const Origin& origin, bool knows) {
  const Disk* const disk = disk_of(origin.home);
  if (disk == nullptr || unanswered_.erase({disk->number, origin.record}) == 0 || knows) return;
  const CommandRecord& record = table.records()[origin.record];
  const std::uint64_t cells = disk->home->block_size() / Oracle::kCell;
  disk->oracle->forget(record.lba * cells, record.blocks * cells);
}

}  // namespace nbdgw::sim
