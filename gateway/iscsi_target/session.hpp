#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/iscsi_target/gate.hpp"
#include "gateway/iscsi_target/logical_unit.hpp"
#include "gateway/iscsi_target/task.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/serial.hpp"
#include "proto/time.hpp"

namespace nbdgw::iscsi_target {

class Server;

/// Who logged in to what: an I_T nexus (RFC 7143 section 4.2.7.3).
struct SessionIdentity {
  std::string initiator_name;
  proto::iscsi::Isid isid{};
  const TargetNode* target = nullptr;  // null: a discovery session
  std::uint16_t portal_group_tag = 1;

  bool operator==(const SessionIdentity&) const = default;
};

/// One session: its connections, the order of its commands, its tasks and what its logical units have to tell it.
class Session {
 public:
  Session(Server& server, SessionIdentity identity, std::uint16_t tsih,
          const proto::iscsi::SessionParameters& parameters, std::uint32_t first_cmd_sn);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const SessionIdentity& identity() const noexcept { return identity_; }
  std::uint16_t tsih() const noexcept { return tsih_; }
  bool is_discovery() const noexcept { return identity_.target == nullptr; }
  const proto::iscsi::SessionParameters& parameters() const noexcept { return parameters_; }

  // ---- connections
  // --------------------------------------------------------------------------------------------------

  const std::vector<Connection*>& connections() const noexcept { return connections_; }
  Connection* find_connection(std::uint16_t cid) const noexcept;
  void add(Connection& connection);
  /// The connection is gone: its tasks end, the numbers of its parked commands stay open. Without any connection left
  /// the session ends too (ErrorRecoveryLevel 0 keeps nothing).
  void remove(Connection& connection);
  /// Ends the session: all its tasks, and its connections once they have sent what is queued.
  void close(const std::string& reason);
  bool is_closed() const noexcept { return closed_; }
  /// No task has anything on the wire: a closed session may be destroyed.
  bool is_idle() const noexcept { return tasks_.first() == nullptr; }

  // ---- order of commands (section 4.2.2.1)
  // --------------------------------------------------------------------------

  std::uint32_t exp_cmd_sn() const noexcept { return exp_cmd_sn_; }
  /// The end of the command window. Every command that was delivered takes a place in it until it is answered or
  /// ended: one that hangs keeps its place, so as many as the window has close it, for all logical units of the
  /// session. What opens it again is told with the next PDU on any connection, such as the answer of the task
  /// management that has ended them. It never goes back.
  std::uint32_t max_cmd_sn() const noexcept {
    return frozen_max_cmd_sn_ ? *frozen_max_cmd_sn_ : exp_cmd_sn_ + depth_ - active_ - 1;
  }
  /// While it is frozen the window does not go beyond what it is now. Afterwards the initiator is told with a NOP-In,
  /// for it may be waiting for nothing else (section 11.19).
  void freeze_window(bool frozen);

  enum class Intake : std::uint8_t {
    taken,
    ignored,             // outside the command window, or received before: to be dropped without a word
    too_many_immediate,  // to be rejected
    tag_in_use,          // a protocol error
  };
  /// A request's header has arrived: makes a task of it.
  Intake begin_task(Connection& connection, const proto::iscsi::Bhs& header, Task*& task);
  /// Memory for the data segment that comes with the request (and, of a write, behind it). What does not fit is
  /// dropped.
  void allocate(Task& task, std::uint32_t length);
  /// Its PDU is complete: executes it if it is its turn, and then all that waited for it.
  void deliver(Task& task, proto::Micros now);

  // ---- tasks
  // --------------------------------------------------------------------------------------------------------

  Task* find(std::uint32_t itt) const noexcept { return table_.find(itt); }
  /// All that there are, SCSI commands and other requests.
  const TaskList& tasks() const noexcept { return tasks_; }
  /// Data-Out has arrived: goes on if that was all.
  void data_arrived(Task& task, proto::Micros now);
  /// Takes a task on that the gate has held.
  void resume(Task& task, proto::Micros now);
  /// The connection has made the task's last PDU: the command window opens.
  void finish(Task& task) noexcept;
  /// Nothing of the task is on the wire any more: back to the pool.
  void release(Task& task) noexcept;
  /// Takes a task out of whatever it is in, without an answer.
  void abort(Task& task);
  /// For a gate that lies: the task goes on, but takes no place in the command window any more, and gives its tag up
  /// to whoever wants it.
  void disown(Task& task) noexcept;
  /// For a gate that rejects a command: it counts as not received (RFC 7143 section 7.3), so its CmdSN is expected
  /// still, and what is behind it waits. Only for the one whose turn it is now.
  void take_back_cmd_sn(const Task& task) noexcept {
    if (!task.immediate && task.cmd_sn + 1 == exp_cmd_sn_) exp_cmd_sn_ = task.cmd_sn;
  }
  /// What the gate has delayed may be due.
  void go_on(proto::Micros now) { drain(now); }

  // ---- unit attentions (SAM-5 5.14)
  // ---------------------------------------------------------------------------------

  void establish_attention(const LogicalUnit& unit, proto::scsi::AdditionalSense code);

  // ---- task management, session_tmf.cpp
  // -----------------------------------------------------------------------------

  /// Ends all tasks in the task set of a logical unit (null: of all).
  void abort_task_set(const LogicalUnit* unit);
  /// The tasks, in the task sets of whatever sessions, that a request from this session would end.
  std::vector<Task*> named_by(const proto::iscsi::TaskManagementRequest& request, const Connection& connection) const;

 private:
  /// What one logical unit has to tell this session. Few codes matter at a time; the oldest are told first.
  struct Attentions {
    static constexpr std::size_t kMax = 4;
    std::array<proto::scsi::AdditionalSense, kMax> codes{};
    std::size_t count = 0;
  };

  struct Parked {
    bool taken = false;    // this CmdSN was received
    Task* task = nullptr;  // null: and is done with (aborted before its turn)
  };

  Parked& parked(std::uint32_t cmd_sn) noexcept { return parked_[cmd_sn & (parked_.size() - 1)]; }
  bool in_window(std::uint32_t cmd_sn) const noexcept {
    return proto::serial_less_equal(exp_cmd_sn_, cmd_sn) && proto::serial_less_equal(cmd_sn, max_cmd_sn());
  }
  void drain(proto::Micros now);
  void dispatch(Task& task, proto::Micros now);
  void start_scsi(Task& task, proto::Micros now);
  std::optional<proto::scsi::Sense> take_attention(const LogicalUnit* unit);
  Gate::Decision ask(Task& task, Gate::Passage passage, proto::Micros now);
  bool refuse(Task& task);
  void go_on_gathering(Task& task, proto::Micros now);
  void solicit(Task& task);
  void make_ready(Task& task, proto::Micros now);
  void run(Task& task, proto::Micros now);
  void execute_task(Task& task, proto::Micros now);
  void respond(Task& task, proto::Micros now);
  void queue_response(Task& task);
  void uncount(Task& task) noexcept;
  void give_up_tag(Task& task);
  void free_data(Task& task) noexcept;
  void abort_tasks_of(Connection& connection);

  // session_tmf.cpp
  void manage(Task& request, proto::Micros now);
  Task* find_referenced(const proto::iscsi::TaskManagementRequest& request, const Connection& connection) const;
  bool must_wait(const proto::iscsi::TaskManagementRequest& request, const Connection& connection) const;
  bool run_postponed(proto::Micros now);
  void suffer(proto::iscsi::TaskManagementFunction function, const LogicalUnit* unit, const Session& issuer);
  proto::iscsi::TaskManagementResult abort_one(const proto::iscsi::TaskManagementRequest& request,
                                               Connection& connection);
  proto::iscsi::TaskManagementResult run_function(const proto::iscsi::TaskManagementRequest& request,
                                                  Connection& connection);

  Server& server_;
  SessionIdentity identity_;
  std::uint16_t tsih_;
  proto::iscsi::SessionParameters parameters_;
  std::vector<Connection*> connections_;
  bool closed_ = false;

  std::uint32_t depth_;
  std::uint32_t exp_cmd_sn_;
  std::optional<std::uint32_t> frozen_max_cmd_sn_;
  std::uint32_t active_ = 0;     // non-immediate commands that were delivered and are not answered
  std::uint32_t immediate_ = 0;  // immediate tasks there are
  std::vector<Parked> parked_;   // ring by CmdSN, as large as the window
  std::uint32_t next_ttt_ = 0;
  bool draining_ = false;

  std::vector<std::unique_ptr<Task>> pool_;
  Task* free_ = nullptr;
  TaskTable table_;
  TaskList tasks_;                      // all that are not free
  std::vector<Task*> postponed_;        // task management that waits for commands before it
  std::vector<Attentions> attentions_;  // by index of the logical unit
};

}  // namespace nbdgw::iscsi_target
