#pragma once

#include <cstdint>

#include "tests/sim/random.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// What targets may do in one way or another, and do. None of it is a fault.
/// The pause that every target asks for between the loss of a session and the next login, seconds (DefaultTime2Wait).
inline constexpr std::uint32_t kTime2Wait = 2;

struct TargetHabits {
  // What it wants in a login.
  std::uint32_t max_connections = 8;
  std::uint32_t max_burst = 262144;
  std::uint32_t first_burst = 65536;
  std::uint32_t max_r2t = 4;
  std::uint32_t segment = 262144;  // MaxRecvDataSegmentLength
  bool initial_r2t = false;
  bool immediate_data = true;
  bool digests = true;          // takes CRC32C if it is offered first
  bool knows_new_keys = false;  // TaskReporting, iSCSIProtocolLevel; else NotUnderstood

  // The command window.
  std::uint32_t window = 64;
  bool window_closes = true;  // it grows with answers; else with what comes in

  // Data and answers.
  std::uint32_t r2t_length = 0;      // the most that one asks for; 0: MaxBurstLength
  std::uint32_t r2ts_at_once = 1;    // within MaxOutstandingR2T
  std::uint32_t data_in_length = 0;  // of a PDU; 0: as long as the initiator takes
  bool status_with_data = true;      // GOOD comes with the last Data-In
  bool early_errors = false;         // an error does not wait for unsolicited data
  bool descriptor_sense = false;
  bool recovers_parts = false;   // with RECOVERED ERROR a part may be missing
  std::uint32_t most_moved = 0;  // of a command; what is missing is told; 0: all
  double instant = 0.5;          // commands that are done at once
  Micros quickest = 20;          // of the others
  Micros slowest = 500;

  // Ends.
  bool task_aborted_status = false;  // what is ended is answered TASK ABORTED
  bool ends_at_once = true;          // what a function ends is not executed; else it is, before the answer
  bool answers_first = false;        // what runs when a function ends it is done and answered before that
  bool functions_in_order = false;   // they wait for commands before them that are missing, and for data asked for
  bool parked_survive = false;       // what is behind a hole in the CmdSN is found by no function (tgt)
  bool resets_target = true;         // knows the resets of the whole target
  bool login_attention = false;      // 29/00 at each login (tgt)
  bool plain_power_on = false;       // the loss of its power is 29/00, as any reset is elsewhere
  bool own_attention = false;        // the initiator hears of its own reset, too (tgt)
  bool lingers = false;              // a connection is closed when its commands are over
  bool closes_hard = false;          // with a reset

  bool quiet_changes = false;         // nobody is told that another disk was put in a LUN's place (tgt)
  bool redirects_in_circles = false;  // every login, now and then for a while
  bool hung_units_answer = false;     // what moves no blocks: INQUIRY, TEST UNIT READY

  bool others_in_standby = false;  // only the first controller is active
  bool frozen_paths = false;       // what freezes is the way to a controller, not the controller

  static TargetHabits draw(Random& random);
};

}  // namespace nbdgw::sim
