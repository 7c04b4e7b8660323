#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "gateway/initiator/recovery_event.hpp"
#include "proto/random.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

struct ScsiCommand;
struct Task;

/// What the ladder has tried for each LUN that is in trouble, and whether it has helped. A rung that the target
/// answers with "complete" and that cures nothing is not climbed for ever: the next climb begins one higher.
///
/// Per LUN the highest rung is kept since a command of a client that was sent after it ended well. A command that was
/// sent before the rung proves nothing against it, so it begins at the bottom, unless that has been tried many times.
/// Where others work on the LUN, a command that was climbed for before (ScsiCommand::climbs, through all its retries)
/// is worth one reset of the LUN, not higher, and not often: what one bad block does is no reason to disturb all the
/// hosts of a LUN again and again. Its other climbs abort it, until it has used up its retries.
/// And where the session has been dropped for a LUN to no avail, and other LUNs work in it, they are left in peace:
/// each of its commands is aborted then, until it fails for its retries.
class LadderMemory {
 public:
  /// LUNs that are remembered; the one in trouble first is forgotten first, and begins at the bottom again.
  static constexpr std::size_t kMaxLuns = 64;
  /// A rung that was tried so often for commands sent before it has had its chance.
  static constexpr std::uint8_t kMaxTimes = 8;

  /// The rung to begin with: abort_task, lu_reset, target_warm_reset or session_reset.
  Rung first_rung(const Task& task, proto::Micros now);
  /// All was tried for this LUN, and others work in the session.
  bool left_alone(std::uint64_t lun) const noexcept;

  /// A rung has come to its end. `next_cmd_sn`: of the first command that can show whether it helped.
  void tried(std::uint64_t lun, Rung rung, std::uint32_t next_cmd_sn);
  /// CmdSNs begin anew.
  void on_session_up(std::uint32_t next_cmd_sn) noexcept;

  /// Some LUN is in trouble: each command's end is to be told.
  bool any() const noexcept { return in_trouble_ > 0; }
  /// A command of a client was answered with GOOD.
  void ended_well(std::uint64_t lun, std::uint32_t cmd_sn) noexcept;

  /// From one reset for the sake of a single command to the next, on a LUN that works; doubled each time,
  /// until it was quiet for the longest.
  static constexpr proto::Micros kFirstRest = 30 * proto::kSecond;
  static constexpr proto::Micros kLongestRest = 16 * 60 * proto::kSecond;

  // Two hosts that share a LUN must not answer each reset with a reset: each of them ends what the other one has
  // under way. So before ours there is a pause of random length, that grows.

  /// Somebody else has ended commands of ours.
  void on_reset_by_others(std::uint64_t lun, proto::Micros now);
  /// Whether a reset of the LUN has to wait; paused_until() tells for how long. False: it is done now.
  bool must_pause(std::uint64_t lun, proto::RandomSource& random, proto::Micros now);
  /// Nothing is climbed for the LUN before this. 0: there is no pause.
  proto::Micros paused_until(std::uint64_t lun) const noexcept;

  static constexpr proto::Micros kFirstPause = 500 * proto::kMillisecond;  // the longest that the first one can be
  static constexpr proto::Micros kLongestPause = 16 * proto::kSecond;
  /// Resets with less between them are answers to each other.
  static constexpr proto::Micros kDispute = 60 * proto::kSecond;

 private:
  struct Lun {
    std::uint64_t lun = 0;
    std::optional<Rung> highest{};  // none: not in trouble
    std::uint8_t times = 0;         // it was tried in a row
    std::uint32_t since = 0;        // CmdSN
    bool others_work = false;       // commands of other LUNs have ended well since
    proto::Micros rests_until = 0;  // from resets for a single command
    proto::Micros rest = 0;         // the last one
    proto::Micros reset_by_others_at = proto::kNever;
    proto::Micros paused_until = 0;
    std::uint8_t pauses = 0;  // in this dispute
    bool paused = false;      // before the reset that is due
  };

  bool worth_a_reset(std::uint64_t lun, proto::Micros now);
  const Lun* find(std::uint64_t lun) const noexcept;
  Lun* find(std::uint64_t lun) noexcept { return const_cast<Lun*>(std::as_const(*this).find(lun)); }
  Lun& of(std::uint64_t lun);

  std::vector<Lun> luns_;
  std::size_t in_trouble_ = 0;
};

}  // namespace nbdgw::initiator
