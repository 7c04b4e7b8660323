#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/error.hpp"
#include "gateway/initiator/recovery_event.hpp"
#include "gateway/initiator/tmf.hpp"
#include "proto/iscsi/pdu.hpp"
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

/// The escalation ladder of one session (design section 6; reference 1.3): which command is overdue, and what is done
/// about it. Part of the session, and acts on it; one rung at a time.
///
///   deadline filter -> ABORT TASK -> LOGICAL UNIT RESET -> TARGET WARM RESET -> all connections dropped, new login
///
/// A function that is not answered in time drops the session at once; one that is refused, or that did not end the
/// task it was for, climbs one rung.
///
/// With several connections a reset may overtake a command that is still on its way over another one, and the target
/// would then execute it after the reset. So a reset covers only what the target is known to receive before it; it
/// waits a little until that is all that it is about, and what it does not cover even then stays, and is answered or
/// becomes overdue itself.
class Escalation {
 public:
  /// Rungs asked for by hand that wait for their turn.
  static constexpr std::size_t kMaxRequests = 16;

  explicit Escalation(Session& session) noexcept;

  /// Whether a PDU may leave now, as far as the ladder goes.
  bool may_send(proto::iscsi::Opcode opcode, std::uint64_t lun, std::uint32_t itt) const noexcept {
    return tmf_.state == TmfState::initial || restricted_may_send(opcode, lun, itt);
  }

  /// False: too many are waiting, or the session is not logged in.
  bool request(const RecoveryRequest& request);

  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);
  /// Takes the next step if there is one to take. Called after each turn.
  void step(proto::Micros now);
  /// A request waits for room in its connection's send queue.
  bool wants_room() const noexcept { return tmf_.state == TmfState::queued && tmf_.task == nullptr; }

  /// Whether the task management function under way, if there is one, is about this task.
  bool in_scope(const Task& task) const noexcept;

  /// The answer to the function under way, or its Reject. What follows is for step(): this comes from the middle of a
  /// connection's receiving.
  void tmf_rsp(proto::iscsi::TaskManagementResult response) noexcept;
  void tmf_rejected() noexcept;

  /// Commands wait while the command window is closed or all tasks are taken, and none could be started; or that is
  /// no longer so.
  void commands_blocked(bool blocked, proto::Micros now) noexcept;

  void on_session_lost(const std::string& why, std::uint32_t tasks, proto::Micros now);
  void on_session_up(proto::Micros now);

  const TaskManagement& tmf() const noexcept { return tmf_; }
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
  };
  /// The one that is being climbed now, for views: a function under way, or the way back to a lost session.
  std::optional<Climb> climbing() const;
  /// Whether request() would take one more.
  bool takes_requests() const noexcept;

 private:
  bool restricted_may_send(proto::iscsi::Opcode opcode, std::uint64_t lun, std::uint32_t itt) const noexcept;

  // Deadlines (deadlines.cpp).
  std::optional<proto::Micros> eh_cmd_timed_out(Task& task, proto::Micros now);
  void check_commands(proto::Micros now);
  void check_window(proto::Micros now);
  bool older_task_progressed(const Task& task) const noexcept;

  // Rungs.
  void begin(const RecoveryRequest& request, proto::Micros now);
  void eh_abort(Task& task, const RecoveryRequest* request, std::string cause, proto::Micros now);
  void eh_device_reset(Climb climb, proto::Micros now);
  void eh_target_reset(Climb climb, proto::Micros now);
  void eh_recover_target(Climb climb, proto::Micros now);
  void eh_session_reset(Climb climb, proto::Micros now);
  void exec_task_mgmt_fn(Climb climb, proto::iscsi::TaskManagementFunction function, const Task* task,
                         proto::Micros now);
  void send_tmf(proto::Micros now);
  std::uint32_t arrived_below(const Connection& way) const noexcept;
  bool overtakes_tasks(std::uint32_t covers_below) const noexcept;
  bool hold_back(proto::Micros now);
  void tmf_done(proto::Micros now);
  std::uint32_t end_covered_tasks();
  void climb_on(Climb climb, const char* answer, proto::Micros now);
  bool is_over(const Climb& climb) const noexcept;
  Climb relogin() const;

  void tell(const Climb& climb, RungOutcome outcome, std::uint32_t tasks, proto::Micros now);

  Session& session_;
  TaskManagement tmf_;
  std::optional<Climb> climb_;
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
