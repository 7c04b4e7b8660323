#pragma once

#include <cstdint>

#include "gateway/initiator/scsi_command.hpp"
#include "proto/iscsi/constants.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

class Connection;

/// Life of a task. The names follow the kernel's iscsi_task states.
enum class TaskState : std::uint8_t {
  free,
  running,          // its PDU is in a connection's send queue, on the wire, or at the target
  completed,        // the target answered
  abrt_tmf,         // ended by a task management function
  abrt_sess_recov,  // handed back because the session is being recovered
};

/// What a task is for.
enum class TaskKind : std::uint8_t { scsi, nop, logout, tmf };

/// A run of write data that the target has asked for with an R2T, or that goes unsolicited after the command.
struct DataOutSequence {
  std::uint32_t ttt = proto::iscsi::kReservedTag;  // reserved for unsolicited data
  std::uint32_t offset = 0;                        // in the transfer, of the next byte to send
  std::uint32_t remaining = 0;                     // bytes left to send
  std::uint32_t data_sn = 0;
};

/// One iSCSI task: what the ITT on the wire stands for. All live in the TaskPool; the ITT's index never changes.
struct Task {
  /// R2Ts that may wait in a task. A target may send as many as MaxOutstandingR2T at once; more is its mistake.
  static constexpr std::uint8_t kMaxR2ts = 8;

  TaskState state = TaskState::free;
  TaskKind kind = TaskKind::scsi;
  std::uint16_t index = 0;
  std::uint32_t itt = 0;
  std::uint32_t cmd_sn = 0;
  Connection* connection = nullptr;  // of allegiance (RFC 7143 section 4.2.2)
  ScsiCommand* command = nullptr;    // scsi only

  /// PDUs in a send queue that point to this task's data. The command goes back to its owner only when the task is
  /// over and this is zero, so its memory cannot go away under the sender.
  std::uint16_t references = 0;

  std::uint32_t exp_data_sn = 0;  // next DataSN or R2TSN; they share one counter per command
  std::uint32_t bytes_received = 0;
  /// Of write data, from the first byte on without a gap, into the send queue. DataSequenceInOrder is Yes, so what is
  /// asked for behind a gap is asked for wrongly and does not count, and what is asked for again counts once.
  std::uint32_t bytes_sent = 0;
  std::uint32_t outstanding_bytes = 0;  // its share of the connection's load

  DataOutSequence sequences[kMaxR2ts];  // ring, served first to last
  std::uint8_t first_sequence = 0;
  std::uint8_t sequence_count = 0;
  bool queued_for_data = false;  // in the connection's list of tasks with data to send

  proto::Micros started_at = 0;
  proto::Micros last_transfer_at = 0;  // a PDU of it was sent or received
  // The escalation ladder's (SCSI commands only).
  proto::Micros deadline = proto::kNever;
  proto::Micros armed_at = 0;       // when the deadline was set
  bool checked_connection = false;  // its connection was asked for a sign of life, after a deadline had passed
  bool overdue = false;             // waits for a rung, or is on one
  bool doomed = false;              // its LUN has told that others may have ended it

  // When its session is lost: how far it has gone by then.
  bool left = true;            // some of its command has
  bool all_data_left = false;  // and all of its data

  Task* next = nullptr;       // in the pool's free list, or in the connection's list of tasks with data to send
  Task* list_next = nullptr;  // in the session's TaskList
  Task* list_previous = nullptr;

  bool is_completed() const noexcept { return state != TaskState::free && state != TaskState::running; }
};

}  // namespace nbdgw::initiator
