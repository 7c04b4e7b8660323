#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/error.hpp"
#include "gateway/initiator/held_commands.hpp"
#include "gateway/initiator/ladder_memory.hpp"
#include "gateway/initiator/recovery_event.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "gateway/initiator/settings.hpp"
#include "gateway/initiator/tmf.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/mutant.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

class Connection;
class Session;
struct Task;

/// A rung asked for by hand. It does not climb: what it comes to is told by the RecoveryEvent with the same `id`.
struct RecoveryRequest {
  std::uint32_t id = 0;                       // not 0
  Rung rung{};                                // anything but timeout and relogin
  std::uint64_t lun = RecoveryEvent::kNoLun;  // abort_task_set, clear_task_set, lu_reset
  std::uint32_t itt = 0;                      // abort_task
};

/// Whether the rung can be asked for, with a LUN where it is about one. Nothing else may be given to a session.
bool can_be_asked_for(const RecoveryRequest& request) noexcept;

/// The escalation ladder of one session: which command is overdue, and what is done
/// about it. Part of the session, and acts on it; one rung at a time.
///
///   deadline filter -> ABORT TASK -> LOGICAL UNIT RESET -> TARGET WARM RESET -> all connections dropped, new login
///
/// A function that is not answered in time drops the session at once; one that is refused, or that did not end the
/// task it was for, climbs one rung.
///
/// What a function ends is handed back only if nothing of it can reach the target behind the function: a command, or
/// data, that is still on its way over another connection would be executed, and some targets write data for a task
/// that they have ended. So, in this order: Data-Out of the tasks that it is about stops; what is queued of it goes
/// out; every other connection that carries such a task is asked with a NOP-Out behind that whether all has arrived
/// (a round); when all have answered the function leaves; and no Data-Out of those tasks leaves after it. Where data
/// has to flow meanwhile (`fast_abort` off) the function proves nothing, and is repeated without; where pings are off
/// and other connections carry such tasks, none of this can be known, and the session is dropped instead.
///
/// What a rung has come to is looked at: when a function completed, the LUN is asked with a TEST UNIT READY whether
/// it answers again, and if it does not in time, the next rung follows. LadderMemory knows which rungs have not
/// helped, and where a climb begins.
///
/// After a loss the ladder also resets the LUNs of writes that may still be at work at the target (HeldCommands),
/// before anything else is sent there.
class Escalation final : private CommandSink {
 public:
  /// Rungs asked for by hand that wait for their turn.
  static constexpr std::size_t kMaxRequests = 16;

  explicit Escalation(Session& session) noexcept;

  /// Whether a PDU may leave now, as far as the ladder goes.
  bool may_send_command(std::uint64_t lun) const noexcept {
    return (tmf_.state == TmfState::initial && !held_.holds_up_luns() && !verifying()) ||
           restricted_may_send_command(lun);
  }
  bool may_send_data(const Task& task) noexcept {
    return tmf_.state == TmfState::initial || restricted_may_send_data(task);
  }
  /// The same, as a question only.
  bool would_send_data(const Task& task) const noexcept;

  /// False: too many are waiting, or the session is not logged in.
  bool request(const RecoveryRequest& request);

  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);
  /// Takes the next step if there is one to take. Called after each turn.
  void step(proto::Micros now);
  /// step() would do something.
  bool wants_step() const noexcept;

  /// Whether the task management function under way, if there is one, is about this task.
  bool in_scope(const Task& task) const noexcept;

  /// The answer to the function under way, or its Reject. What follows is for step(): this comes from the middle of a
  /// connection's receiving.
  void tmf_rsp(proto::iscsi::TaskManagementResult response) noexcept;
  void tmf_rejected() noexcept;

  /// Commands wait while the command window is closed or all tasks are taken, and none could be started; or that is
  /// no longer so.
  void commands_blocked(bool blocked, proto::Micros now) noexcept;

  /// A command's answer is to be told by on_answer(): some LUN is in trouble.
  bool wants_answers() const noexcept { return memory_.any() || verifying(); }
  void on_answer(const Task& task, Outcome outcome) noexcept;
  /// The answer to `task` came with sense.
  void on_sense(const Task& task, proto::Micros now);

  void on_session_lost(const std::string& why, std::uint32_t tasks, proto::Micros now);
  void on_session_up(proto::Micros now);

  const TaskManagement& tmf() const noexcept { return tmf_; }
  HeldCommands& held() noexcept { return held_; }
  const HeldCommands& held() const noexcept { return held_; }
  /// How long the target may take for it without a sign.
  proto::Micros time_for(const ScsiCommand& command, const SessionSettings& settings) const noexcept {
    return may_be_slow(command) && !NBDGW_MUTANT(slow_commands_hurried) ? settings.slow_command_timeout
                                                                        : settings.command_timeout;
  }
  /// The connection has answered a ping: those commands of it that had been silent for too long are overdue now.
  void on_sign_of_life(const Connection& connection, proto::Micros now) noexcept;

  /// The target has rejected the command with this CmdSN.
  void on_rejected(std::uint32_t cmd_sn, proto::Micros now) noexcept;

  bool has_events() const noexcept { return !events_.empty(); }
  bool next_event(RecoveryEvent& event);

  /// A rung that is being climbed.
  struct Climb {
    Rung rung{};
    RungScope scope{};
    std::uint64_t lun = RecoveryEvent::kNoLun;
    std::uint32_t itt = proto::iscsi::kReservedTag;  // the task it is for; reserved: asked for by hand
    std::uint16_t cid = 0;
    std::uint32_t request_id = 0;  // by hand
    std::string cause{};
    proto::Micros started_at = 0;
    bool again =
        false;  // data flowed while the function was under way: now it is withheld, whatever the settings say
    bool for_held = false;                          // for commands of a session that was lost
    std::uint64_t for_lun = RecoveryEvent::kNoLun;  // for whose sake, whatever the rung is about
    bool unanswered = false;                        // the LUN does not answer, whatever has become of the command
    bool slow = false;                              // all that is known is that a command that may be slow was slow
  };
  /// The one that is being climbed now, for views: a function under way, or the way back to a lost session.
  std::optional<Climb> climbing() const;
  /// The same without the way back, for those who look at every turn; null: none.
  const Climb* current() const noexcept { return climb_ ? &*climb_ : nullptr; }
  /// Whether request() would take one more.
  bool takes_requests() const noexcept;

 private:
  bool restricted_may_send_command(std::uint64_t lun) const noexcept;
  bool restricted_may_send_data(const Task& task) noexcept;

  // Deadlines (escalation_deadlines.cpp).
  std::optional<proto::Micros> eh_cmd_timed_out(Task& task, proto::Micros now);
  void check_commands(proto::Micros now);
  void check_hole(proto::Micros now);
  void check_window(proto::Micros now);
  bool older_task_progressed(const Task& task) const noexcept;

  // What a rung has come to (escalation_verification.cpp).
  bool verifying() const noexcept { return verify_deadline_ != proto::kNever; }
  void verify(Climb climb, proto::Micros now);
  void send_verification(proto::Micros now);
  void check_verification(proto::Micros now);
  void on_command_done(ScsiCommand& command, proto::Micros now) override;
  void remember(const Climb& climb);
  void on_reset_by_others(const Task& task, proto::Micros now);

  // Rungs.
  Task* next_overdue(proto::Micros now) noexcept;
  void climb(Task& task, proto::Micros now);
  static void note_climb(Task& task) noexcept;
  void begin(const RecoveryRequest& request, proto::Micros now);
  void eh_abort(Task& task, const RecoveryRequest* request, std::string cause, proto::Micros now);
  void eh_device_reset(Climb climb, proto::Micros now);
  void eh_target_reset(Climb climb, proto::Micros now);
  void eh_recover_target(Climb climb, proto::Micros now);
  void eh_session_reset(Climb climb, proto::Micros now);
  void exec_task_mgmt_fn(Climb climb, proto::iscsi::TaskManagementFunction function, const Task* task,
                         proto::Micros now);
  void send_tmf(proto::Micros now);
  bool could_send_tmf() const noexcept;
  void drop_instead(proto::Micros now);
  Connection* way_for_tmf() const noexcept;
  bool carries_scope(const Connection& connection) const noexcept;
  bool owes_promised_data(const Connection& connection) const noexcept;
  bool may_ask() const noexcept;
  bool round_concerns(const Connection& connection, std::uint32_t highest) const noexcept;
  bool round_is_over(proto::Micros now);
  bool could_go_on_with_round() const noexcept;
  std::uint32_t highest_cmd_sn_in_scope() const noexcept;
  bool holds_acknowledgements(const Connection& way) const noexcept;
  std::uint32_t arrived_below(const Connection& way) const noexcept;
  bool is_about_tasks() const noexcept;
  bool ends_all_nexuses() const noexcept;
  void reset_for_held(std::uint64_t lun, proto::Micros now);
  void tmf_done(proto::Micros now);
  void tmf_succeeded(Climb climb, proto::Micros now);
  std::uint32_t end_covered_tasks(std::string& proof);
  void climb_on(Climb climb, const char* answer, proto::Micros now);
  bool is_over(const Climb& climb) const noexcept;
  Climb relogin() const;

  void tell(const Climb& climb, RungOutcome outcome, std::uint32_t tasks, proto::Micros now, std::string proof = {});

  Session& session_;
  TaskManagement tmf_;
  std::uint32_t hole_ = 0;  // CmdSN of a command that was rejected, and may not count as received
  proto::Micros hole_deadline_ = proto::kNever;
  std::uint32_t last_rejected_ = 0;     // the CmdSN of the last one that was rejected since, or hole_ itself,
  proto::Micros last_rejected_at_ = 0;  // then: it is looked at when that has turned out to be none
  std::uint32_t rounds_ = 0;            // of NOP-Outs ahead of functions, ever
  HeldCommands held_;
  std::optional<Climb> climb_;
  LadderMemory memory_;
  ScsiCommand verification_;  // TEST UNIT READY
  bool verification_lent_ = false;
  bool verification_is_older_ = false;             // than the rung that is looked at
  std::uint32_t verify_since_ = 0;                 // CmdSN of the first command that would show the same
  proto::Micros resume_at_ = proto::kNever;        // when a LUN's pause ends
  proto::Micros verify_deadline_ = proto::kNever;  // for the rung `climb_`, which completed
  std::vector<RecoveryRequest> requests_;
  std::vector<RecoveryEvent> events_;
  proto::Micros blocked_since_ = proto::kNever;  // commands wait for the window or for a task
  proto::Micros window_deadline_ = proto::kNever;
  bool window_checked_ = false;  // and a ping has been sent for it
  proto::Micros lost_at_ = proto::kNever;
  std::string lost_why_;
  std::uint32_t lost_tasks_ = 0;
};

}  // namespace nbdgw::initiator
