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
  /// It covers commands with a CmdSN before this one: they reach the target before it does. Those after it may still
  /// be on their way over another connection.
  std::uint32_t covers_below = 0;
  bool asked = false;                        // held back, and the connections asked what has arrived
  proto::Micros held_until = proto::kNever;  // kNever: it is not, or no longer
  proto::Micros deadline = proto::kNever;
};

/// Whether a PDU may leave while a task management function is under way (iscsi_check_tmf_restrictions; the table is
/// in reference 1.2). `about_to_be_sent`: scsi_command or data_out. `fast_abort`: Data-Out of the tasks that a reset
/// ends is withheld.
bool check_tmf_restrictions(const TaskManagement& tmf, bool fast_abort, proto::iscsi::Opcode about_to_be_sent,
                            std::uint64_t lun, std::uint32_t itt) noexcept;

}  // namespace nbdgw::initiator
