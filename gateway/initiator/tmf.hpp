#pragma once

#include <cstdint>

#include "proto/iscsi/constants.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

class Connection;
struct Task;

/// Life of a task management function; the names follow the kernel's.
enum class TmfState : std::uint8_t {
  initial,  // none is under way
  queued,   // asked for; not answered yet
  success,  // response 0
  failed,   // any other response, or a Reject
  timedout,
  not_found,  // response 1
};

const char* to_string(TmfState state) noexcept;

/// The task management function of a session (RFC 7143 section 11.5): one at a time, as in the kernel. The RFC
/// guarantees no more than one immediate request per connection.
struct TaskManagement {
  TmfState state = TmfState::initial;
  proto::iscsi::TaskManagementFunction function{};
  std::uint64_t lun = 0;
  std::uint32_t referenced_itt = proto::iscsi::kReservedTag;  // ABORT TASK only, as is the next one
  std::uint32_t referenced_cmd_sn = 0;
  Connection* connection = nullptr;  // that carries it; ABORT TASK: the task's connection of allegiance
  Task* task = nullptr;              // its own; null until it found room in the send queue
  bool withhold = false;             // no Data-Out of the tasks that it is about is queued any more
  bool data_flowed = false;          // some was all the same: what it ended may have been followed by data
  bool unasked = false;              // connections carry such tasks that may not be asked whether all has arrived
  std::uint32_t round = 0;           // of NOP-Outs ahead of it; 0: none was needed
  /// It covers commands with a CmdSN before this one: the target is known to have received them before it.
  std::uint32_t covers_below = 0;
  proto::Micros deadline = proto::kNever;
};

/// Whether a PDU may leave while a task management function is under way (iscsi_check_tmf_restrictions).
/// `about_to_be_sent`: scsi_command or data_out. `withhold`: Data-Out of the tasks that it ends is withheld. The
/// kernel lets all pass with functions that it does not use itself; here they are like a reset of the LUN or the
/// target, so that what they are about is known when they leave.
bool check_tmf_restrictions(const TaskManagement& tmf, bool withhold, proto::iscsi::Opcode about_to_be_sent,
                            std::uint64_t lun, std::uint32_t itt) noexcept;

}  // namespace nbdgw::initiator
