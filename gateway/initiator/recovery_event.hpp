#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "proto/time.hpp"

namespace nbdgw::initiator {

/// A step of the escalation ladder, or what else the ladder does.
enum class Rung : std::uint8_t {
  timeout,  // a command was not answered in time, and its connection is asked whether it lives
  abort_task,
  abort_task_set,  // by hand only, as are the next one and the cold reset
  clear_task_set,
  lu_reset,
  target_warm_reset,
  target_cold_reset,
  session_reset,  // all connections dropped
  relogin,        // the session is back
};

inline constexpr std::size_t kRungCount = static_cast<std::size_t>(Rung::relogin) + 1;

/// What a rung is about.
enum class RungScope : std::uint8_t { task, lun, target, session };

enum class RungOutcome : std::uint8_t {
  success,
  not_found,  // response 1: the target says that it has no such task; no proof that it will not run
  refused,    // any other response, or a Reject
  timed_out,
  failed,  // the session was lost meanwhile
};

inline constexpr std::size_t kRungOutcomeCount = static_cast<std::size_t>(RungOutcome::failed) + 1;

const char* to_string(Rung rung) noexcept;
const char* to_string(RungScope scope) noexcept;

/// What is being done while the rung is climbed, and what was done if it has succeeded, for people: "is aborting a
/// task", "aborted a task". Subject: the gateway, or the session.
const char* now_text(Rung rung) noexcept;
const char* done_text(Rung rung) noexcept;
const char* to_string(RungOutcome outcome) noexcept;

/// One rung climbed. Told when it has ended.
struct RecoveryEvent {
  static constexpr std::uint64_t kNoLun = ~0ULL;

  proto::Micros ended_at = 0;
  proto::Micros duration = 0;
  std::uint16_t tsih = 0;  // of the session
  std::uint16_t cid = 0;   // the connection it is about, or that carried the request
  std::uint64_t lun = kNoLun;
  Rung rung{};
  RungScope scope{};
  RungOutcome outcome{};
  /// That it has handed back. timeout: that were overdue; session_reset and relogin: that were under way at the loss,
  /// of which some may be held still.
  std::uint32_t tasks = 0;
  std::uint32_t request_id = 0;  // of a RecoveryRequest; 0: the ladder's own doing
  std::string cause;             // for people
  std::string proof{};  // why those tasks cannot run at the target any more; empty: none was handed back by it
};

}  // namespace nbdgw::initiator
