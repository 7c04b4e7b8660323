#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "tests/sim/random.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

class TargetObserver;

/// What can go wrong at a target. faults.cpp has their names and how often each is drawn.
enum class Fault : std::uint8_t {
  // A SCSI command.
  slow_command,
  hung_command,       // executed only when everything heals; any function ends it
  hung_answer,        // executed, and not answered
  short_read,         // with the residual
  short_read_untold,  // GOOD, and no word of what is missing
  short_write,        // with the residual
  recovered_error,    // and all went well
  check_condition,    // of many kinds; something may have been moved
  deferred_error,     // of a write before; this one is not executed
  busy,
  task_set_full,
  reservation_conflict,
  aborted_command,
  task_aborted,
  target_failure,     // response code 1
  sense_with_good,    // tgt, after UNMAP
  unit_attention,     // nothing has happened at all
  synchronize_fails,  // and what was in the cache may be gone
  reject_counted,     // a Reject; the CmdSN is used up
  reject_hole,        // a Reject; the target waits for that CmdSN
  no_r2t,             // the data is never asked for
  odd_r2t,            // in pieces of any size
  early_data_drops,   // unsolicited data of a command behind a hole costs the connection (LIO)
  // A task management function.
  function_slow,
  function_unanswered,  // and without effect
  function_late_data,   // "complete", and a write that waits for data is done when that comes (tgt)
  function_denied,      // "task does not exist"
  function_refused,     // "rejected" or "not supported"
  function_pdu_rejected,
  reset_closes_others,  // the other connections of the session (istgt)
  function_lies,        // "complete", and a write goes on and is done later. No initiator can cope with that
  // The end of a session.
  outlives_session,  // a command goes on, and writes later; a reset of the unit finds it (tgt)
  close_unanswered,  // the initiator's FIN is not answered
  // A login.
  login_refused,
  login_redirected,
  login_moved,  // redirected for good
  login_hangs,
  login_drops,
  login_long,  // one more round, in which the target offers (tgt)
  // A PDU.
  pdu_cut,  // the connection ends in the middle of one
  header_digest_wrong,
  data_digest_wrong,
  ping_unanswered,  // a NOP-Out
  // From here on they need no occasion. Connections and sessions.
  connection_dropped,
  connection_reset,
  connection_vanishes,
  connection_stalls,
  half_closed,
  ping,           // a NOP-In that wants an answer
  window_frozen,  // MaxCmdSN does not move for a while
  // The target says something.
  logout_requested,
  drop_announced,
  session_drop_announced,
  parameters_requested,
  vendor_event,
  // The array.
  session_stolen,  // another host logs in with this one's name and ISID
  unit_hangs,      // until a function, a login or time cures it; those below answer "complete" and cure nothing
  reset_by_others,
  power_loss,
  failover,
  controller_down,
  controller_frozen,
  unit_unmapped,
  unit_remapped,
  identity_unreadable,
  capacity_grown,
  write_protected,
  thin_threshold,
  inquiry_changed,
  // From here on they are in some worlds only (scene.hpp), and in no draw.
  deadly_read,          // ends the session, each time
  ended_answer_stalls,  // of what a function has ended: in the middle, while the function's own arrives
  // None of them.
  none,
};
inline constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::none);
inline constexpr std::size_t kFirstTimedFault = static_cast<std::size_t>(Fault::connection_dropped);
inline constexpr std::size_t kFirstUndrawnFault = static_cast<std::size_t>(Fault::deadly_read);

const char* to_string(Fault fault) noexcept;
/// Fault::none: there is none of that name.
Fault find_fault(std::string_view name) noexcept;

/// What a world is about: some faults of one kind are likely there, and most others absent.
enum class Theme : std::uint8_t {
  none,
  ladder,       // commands that hang, functions that are refused
  aborts,       // the same, and functions that are answered as nobody expects
  losses,       // sessions that end while writes are at work
  controllers,  // those that come and go
  logins,
  caches,
  units,   // LUNs that change
  others,  // other hosts' resets
};
Theme draw_theme(Random& random);

/// How likely each fault is, for each occasion that there is for it; of those that need none (a power loss), in each
/// `tick`. And how long what lasts may last.
struct TargetFaults {
  std::array<double, kFaults> rate{};
  Micros tick = 100 * proto::kMillisecond;
  Micros longest_delay = 3 * proto::kSecond;    // of what is slow
  Micros longest_outage = 20 * proto::kSecond;  // of what is away, or hangs
  Micros shortest_outage = 1000;
  Micros longest_ghost = 10 * proto::kSecond;  // of a command that has outlived its session

  double& operator[](Fault fault) noexcept { return rate[static_cast<std::size_t>(fault)]; }
  /// Each is absent in about half of the draws; what no initiator can cope with in all of them.
  static TargetFaults draw(Random& random);
  void take(Theme theme, Random& random);
  /// One that needs no occasion strikes every so often.
  void set_mean(Fault fault, Micros mean) noexcept {
    (*this)[fault] = std::min(0.5, static_cast<double>(tick) / static_cast<double>(mean));
  }
};

/// Decides when a fault strikes, and counts. Each fault has a random source of its own: leaving one out shifts no
/// other.
class FaultDesk {
 public:
  /// `observer`: of each that strikes; null: nobody.
  FaultDesk(const TargetFaults& faults, Random random, TargetObserver* observer);

  /// There is an occasion for it.
  bool strikes(Fault fault) noexcept {
    Stream& stream = streams_[static_cast<std::size_t>(fault)];
    if (stream.rate <= 0 || healed_ || !stream.allowed || !stream.random.chance(stream.rate)) return false;
    ++stream.count;
    if (observer_ != nullptr) tell(fault);
    return true;
  }
  /// It may happen in this world, now and then.
  bool may_strike(Fault fault) const noexcept {
    const Stream& stream = streams_[static_cast<std::size_t>(fault)];
    return stream.rate > 0 && stream.allowed && !healed_;
  }
  /// For what is drawn about a fault that has struck.
  Random& random(Fault fault) noexcept { return streams_[static_cast<std::size_t>(fault)].random; }
  Micros delay(Fault fault) noexcept { return random(fault).spread(100, faults_.longest_delay); }
  Micros outage(Fault fault) noexcept {
    return random(fault).spread(faults_.shortest_outage, faults_.longest_outage);
  }
  Micros ghost_life(Fault fault) noexcept { return random(fault).spread(1000, faults_.longest_ghost); }
  Micros tick() const noexcept { return faults_.tick; }

  void allow(Fault fault, bool yes) noexcept { streams_[static_cast<std::size_t>(fault)].allowed = yes; }
  /// Nothing strikes any more.
  void heal() noexcept { healed_ = true; }
  bool healed() const noexcept { return healed_; }
  /// Those that have struck, by name.
  std::map<std::string, std::uint64_t> seen() const;

 private:
  struct Stream {
    Random random{0};
    double rate = 0;
    bool allowed = true;
    std::uint64_t count = 0;
  };
  void tell(Fault fault);

  TargetFaults faults_;
  std::array<Stream, kFaults> streams_;
  TargetObserver* observer_;
  bool healed_ = false;
};

}  // namespace nbdgw::sim
