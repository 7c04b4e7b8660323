#pragma once

#include <set>
#include <utility>
#include <vector>

#include "tests/sim/oracle.hpp"
#include "tests/sim/site.hpp"

namespace nbdgw::sim {

/// No byte goes to a disk of another identity than the one that the export was attached to first, and none comes from
/// there, once the gateway has been told that another one may be there.
///
/// The first disk of an export is its LUN's home: the model leads to another one only after the home was used. Told
/// is whoever has acknowledged an answer that tells of the last change: a unit attention, "no such unit", or the
/// identity itself; and whoever has logged in since, for a login may lead anywhere (Origin::warned).
///
/// A change may be told to nobody: of a LUN with which nothing is under way another disk may have taken the place, if
/// it has answered nothing for longer than bridge::kTrustedSilence. So what comes after such a silence, and what may
/// have been on its way at its beginning is taken off, meets no other disk unless the LUN was asked before which one
/// it is: the answer to that is one more, and no silence. Judged where nothing has stood still on the way.
///
/// What was under way at the change may meet the other disk, and nobody can keep it from that (ARCHITECTURE.md, "The
/// right disk": "What cannot"). If such a command was answered before the sign came, even its end was believed. So
/// the oracle forgets the cells that it was about: they may hold anything from then on. Not if the sign was
/// acknowledged before the answer left: then the gateway knows that the end means nothing, and asks again.
class DiskChecker {
 public:
  DiskChecker(Complaints& complaints, const std::vector<const Disk*>& disks)
      : complaints_(complaints), disks_(disks) {}

  void on_write(const CommandTable& table, const WriteEvent& event);
  void on_read(const CommandTable& table, const Medium& medium, const Origin& origin);
  void on_sync(const Medium& medium, const Origin& origin);
  void on_unwarned_answer(const CommandTable& table, const Origin& origin, bool knows);
  /// At most, of what is on its way.
  void set_lag(Micros lag) noexcept { lag_ = lag; }
  /// Commands that have met another disk, by no fault of the gateway.
  std::uint64_t strays() const noexcept { return strays_; }

 private:
  const Disk* disk_of(const Medium* home) const noexcept;
  bool is_home(const Medium& medium) const noexcept { return disk_of(&medium) != nullptr; }
  void met(const CommandTable& table, const Origin& origin, const char* what);
  void look_for_silence(const CommandTable& table, const Disk& disk, const Origin& origin);

  Complaints& complaints_;
  const std::vector<const Disk*>& disks_;
  Micros lag_ = proto::kNever / 4;
  std::uint64_t strays_ = 0;
  std::set<std::pair<std::uint32_t, std::uint32_t>> unanswered_;  // of strays, the disk and the record
};

}  // namespace nbdgw::sim
