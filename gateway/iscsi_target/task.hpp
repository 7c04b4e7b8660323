#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gateway/iscsi_target/device_server.hpp"
#include "gateway/iscsi_target/options.hpp"
#include "proto/iscsi/pdu.hpp"

namespace nbdgw::iscsi_target {

class Connection;
class Session;

/// What waits on a connection to be sent: a PDU without a task behind it, or a task that is ready to be answered.
struct Outgoing {
  enum class Kind : std::uint8_t { control, task };
  explicit Outgoing(Kind k) noexcept : kind(k) {}
  Kind kind;
  Outgoing* next_out = nullptr;
};

/// A PDU of its own: all that the target sends but Data-In and SCSI responses. StatSN and the command window are put
/// into the header when its turn to be sent has come.
struct ControlPdu : Outgoing {
  ControlPdu() noexcept : Outgoing(Kind::control) {}
  proto::iscsi::Bhs header{};
  std::vector<std::uint8_t> data;
  bool consumes_stat_sn = true;  // not of R2T and of a NOP-In that is no answer (RFC 7143 sections 11.8.1, 11.19.3)
  bool ends_login = false;       // digests count from the next PDU on
};

enum class TaskState : std::uint8_t {
  free,
  receiving,   // the data segment of its own PDU is still on its way
  parked,      // a command with a lower CmdSN is missing
  gathering,   // in the task set; waits for Data-Out
  ready,       // at the gate, before it is executed
  executed,    // at the gate, before it is answered
  responding,  // in the connection's queue: Data-In and status are being sent
  finished,    // its last PDU is made: the initiator may use the tag again; gone when the bytes have left
  aborted,     // no longer in the task set, never answered; gone when the bytes that were on their way have left
};

/// Data-Out that the target has asked for with one R2T (section 11.8).
struct Solicited {
  std::uint32_t ttt = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  std::uint32_t received = 0;
  std::uint32_t data_sn = 0;
};

/// What a gate makes of a command that ends well: not all of its data is moved.
struct Shortfall {
  std::uint32_t bytes = 0;  // that are moved
  bool good = false;        // GOOD, else RECOVERED ERROR
  bool told = false;        // with the residual that is true, else as if all had been moved
};

/// One request that carries a CmdSN, from its header until its last byte is answered: a SCSI command, or for the time
/// that it is parked any other. Tasks come from their session's pool.
struct Task : Outgoing {
  Task() noexcept : Outgoing(Kind::task) {}

  // What was asked
  Session* session = nullptr;
  Connection* connection = nullptr;  // its allegiance (section 4.2.2)
  TaskState state = TaskState::free;
  proto::iscsi::Opcode opcode{};
  bool immediate = false;
  bool counted = false;  // takes a place in the command window
  bool no_room = false;  // there was no memory for its data: TASK SET FULL
  bool judged = false;   // its CDB and pending unit attentions did not stand in its way
  // By the gate
  bool followed = false;  // the gate is told when it is aborted
  bool disowned = false;  // the initiator has been told, wrongly, that it is gone (Session::disown())
  bool spared = false;    // disowned, and no task management ends it any more
  std::optional<Shortfall> shortfall;
  std::uint32_t itt = 0;
  std::uint32_t cmd_sn = 0;
  proto::iscsi::Bhs request{};
  proto::iscsi::ScsiCommandPdu command{};
  const LogicalUnit* unit = nullptr;
  Plan plan;

  // Its payload: what it brought, or what it answers with
  std::vector<iovec> data;
  std::uint32_t data_length = 0;

  // Data-Out so far; positions in the initiator's buffer
  std::uint32_t out_length = 0;  // bytes that the command can use
  std::uint32_t received = 0;
  bool unsolicited_open = false;  // unsolicited Data-Out follows, up to its F bit
  std::uint32_t unsolicited_data_sn = 0;
  std::uint32_t solicited_up_to = 0;  // asked for with R2Ts
  std::uint32_t r2t_sn = 0;
  std::array<Solicited, kMaxOutstandingR2t> solicited{};  // in the order of the R2Ts
  std::uint32_t solicited_count = 0;

  // What came of it
  proto::scsi::Status status{};
  std::array<std::uint8_t, 2 + proto::scsi::kFixedSenseLength> sense_segment{};
  std::uint32_t sense_segment_length = 0;
  std::uint32_t moved = 0;      // bytes the command wanted to move
  std::uint32_t in_length = 0;  // Data-In to send
  std::uint32_t in_sent = 0;
  std::uint32_t data_sn = 0;
  std::uint32_t on_wire = 0;  // PDUs of it that are made but have not left

  // Links: pool or list of the session's tasks; tag table
  Task* next = nullptr;
  Task* previous = nullptr;
  Task* next_same_hash = nullptr;

  std::span<const std::uint8_t, 16> cdb() const noexcept { return command.cdb; }
  bool is_scsi() const noexcept { return opcode == proto::iscsi::Opcode::scsi_command; }
  /// Delivered to the logical unit and not answered yet: what task management can be about.
  bool in_task_set() const noexcept {
    return is_scsi() && (state == TaskState::gathering || state == TaskState::ready || state == TaskState::executed ||
                         state == TaskState::responding);
  }
};

/// Tasks by Initiator Task Tag: a hash table with chains through the tasks.
class TaskTable {
 public:
  explicit TaskTable(std::size_t expected);

  Task* find(std::uint32_t itt) const noexcept;
  void insert(Task& task) noexcept;
  void erase(Task& task) noexcept;

 private:
  std::size_t bucket(std::uint32_t itt) const noexcept { return (itt * 0x9e3779b1U) & (buckets_.size() - 1); }
  std::vector<Task*> buckets_;
};

/// A doubly linked list through Task::next and Task::previous.
class TaskList {
 public:
  Task* first() const noexcept { return first_; }
  void push_back(Task& task) noexcept;
  void remove(Task& task) noexcept;

 private:
  Task* first_ = nullptr;
  Task* last_ = nullptr;
};

void set_check_condition(Task& task, const proto::scsi::Sense& sense) noexcept;
void set_status(Task& task, proto::scsi::Status status) noexcept;
/// Answers a read or write as its shortfall says.
void set_short(Task& task) noexcept;
/// Residual and status of a task that has its answer (section 11.4.5).
proto::iscsi::StatusFields status_fields(const Task& task) noexcept;

}  // namespace nbdgw::iscsi_target
