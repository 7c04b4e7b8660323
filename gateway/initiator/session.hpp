#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gateway/initiator/connection.hpp"
#include "gateway/initiator/counters.hpp"
#include "gateway/initiator/error.hpp"
#include "gateway/initiator/escalation.hpp"
#include "gateway/initiator/pending_commands.hpp"
#include "gateway/initiator/portal_choice.hpp"
#include "gateway/initiator/portal_group.hpp"
#include "gateway/initiator/recovery_event.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "gateway/initiator/settings.hpp"
#include "gateway/initiator/task_list.hpp"
#include "gateway/initiator/task_pool.hpp"
#include "proto/bell.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/mutant.hpp"
#include "proto/random.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

enum class SessionState : std::uint8_t {
  free,         // not started
  logging_in,   // the leading connection connects or logs in
  logged_in,    // full feature phase; further connections may still be joining
  failed,       // lost; waits for its back-off before the next login
  logging_out,  // a Logout is on its way, because we stop or because the target asked
  terminated,   // stopped for good
};

const char* to_string(SessionState state) noexcept;

/// What the session wants of its shell: a socket opened or closed.
struct SocketRequest {
  enum class Kind : std::uint8_t {
    connect,
    close,
    /// Our side of it, and the socket once the target has closed its own or cannot be reached. Until then the target
    /// may still be at work for the connection, and a new session could overtake what that comes to. Targets take
    /// harm, too, if the old session is replaced meanwhile (LIO, of several connections). If the target has not
    /// closed its side by then, the socket is reset: what is still in it must not arrive later, and the next session
    /// may be with another controller, which could not end it there.
    leave,
  };
  Kind kind{};
  std::uint16_t connection = 0;  // index, as for Session::connection()
  Portal portal;                 // connect: where to
  /// connect: where to try as well, in this order, if `portal` does not let the shell know for a moment whether it is
  /// there. Which one it has become is told by Connection::on_connected().
  std::vector<Portal> alternates;
  /// connect: the one of the portal's addresses to begin with, as Connection::on_connected() told of it, if it still
  /// has it. Another one may lead to another controller, where the session is not known. Empty: any.
  std::string address;
  bool patient = false;  // leave: the target answers, so that it closes its side may be waited for
};

/// Something worth a log line, and for the layers above. `text` is for people.
struct SessionEvent {
  enum class Kind : std::uint8_t {
    logged_in,          // the leading connection is in full feature phase
    connection_joined,  // a further connection is
    lost,               // a login follows
    login_failed,       // one attempt; another follows
    unit_reset,         // we have reset a LUN, or all (RecoveryEvent::kNoLun): unit attentions follow from it
    unit_answer,        // a LUN has answered the ladder's own command with sense
    unit_event,         // the target says, unasked, that something has happened to a LUN (SCSI asynchronous event)
    notice,             // worth knowing, nothing changes (async message, connection not granted, ...)
    terminated,
  };
  Kind kind{};
  std::uint16_t connection = 0;
  std::string text;
  /// unit_reset, unit_answer, unit_event (kNoLun: may concern any of the target's).
  std::uint64_t lun = RecoveryEvent::kNoLun;
  std::shared_ptr<const ScsiCommand> answer{};  // unit_answer
  /// logged_in: from the last sign of life of the session before to this login; 0 for the first login. What was in a
  /// target's volatile cache may be gone if it was away for long.
  proto::Micros outage = 0;
  /// logged_in: we have ended the session before ourselves (session reset, connection dropped by hand), and the first
  /// login after it has succeeded.
  bool own_doing = false;
  /// lost: like those before it soon after the login, and by the target: somebody else may have our name.
  bool stolen = false;
};

/// One iSCSI session with its connections (RFC 7143 section 4.2): after the model of iscsi_session in the Linux
/// kernel, but with several connections. Pure: the shell moves the bytes of each Connection, opens and closes sockets
/// as asked by next_socket_request(), and calls, after every turn in which something happened or the session has rung
/// its bell (set_bell()), deliver(), fetches what it has to tell, and then calls data_xmit().
///
/// At ErrorRecoveryLevel 0 the session stands or falls as a whole: when one connection fails, all are dropped, and a
/// new login with the same ISID follows. In the same portal group that reinstates the session, which ends what the
/// target still had of the old one (RFC 7143 section 6.3.5), as far as iSCSI goes. The commands come back as
/// Outcome::transport_disrupted, each with its Proof: at once what was never sent or writes nothing, and the rest
/// when a login, or a reset after it, proves that it cannot run any more (HeldCommands).
class Session final : public CommandTransport {
 public:
  /// The longest that a target may have us wait before the next login, whatever it asks for: the largest
  /// DefaultTime2Wait (RFC 7143 section 13.15).
  static constexpr proto::Micros kMaxTime2Wait = 3600 * proto::kSecond;

  Session(SessionSettings settings, const proto::iscsi::Isid& isid, proto::RandomSource& random);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Rung by every call but deliver() and data_xmit(), and by what comes in, when the session wants its turn, or when
  /// its next deadline may have become earlier.
  void set_bell(proto::Bell* bell) noexcept { bell_.hang(bell); }
  /// There is something to do now: for deliver(), for data_xmit(), or to be fetched. Bytes to be sent are another
  /// matter (Connection::wants_tx()).
  bool wants_turn() const noexcept;

  /// Begins the first login (iscsi_session_setup; what it preallocates, the constructor has made).
  void setup(proto::Micros now);
  /// Logs out and ends for good (iscsi_session_teardown); commands not finished come back as path_lost. Ends in state
  /// `terminated`, when all sockets are closed.
  void teardown(proto::Micros now);

  void queuecommand(ScsiCommand& command, proto::Micros now) override;
  void recall(std::uint64_t lun) override;
  void suspect(std::uint64_t lun, std::span<const LeftWrites> left) override;
  bool suspects(std::uint64_t lun) const noexcept override;
  std::vector<LeftWrites> left_writes(std::uint64_t lun) const override;

  /// Takes over what may change while the session lives: the timeouts, the switches of recovery, the CHAP secrets
  /// (for the next login), and a larger queue_depth (a smaller one is not). What is under way keeps the deadline that
  /// it was given.
  void retune(const SessionSettings& settings);

  /// Asks for a rung of the ladder by hand. False: the session is not logged in, or too many are waiting.
  bool request_recovery(const RecoveryRequest& request);

  /// Gives up a connection in full feature phase, and with it the session, which logs in again. False: it is in no
  /// such phase.
  bool drop_connection(std::uint16_t index, const std::string& why, proto::Micros now);

  /// The LUNs that are in use cannot be used over this portal: drops the session, and tries the next one. False:
  /// there is no other, or no session.
  bool leave_portal(const std::string& why, proto::Micros now);

  /// Takes the ladder's next step, and hands finished commands to their sinks, which may queue new ones meanwhile.
  void deliver(proto::Micros now);
  /// Commits waiting commands to connections (CmdSN is given here) and fills the connections' send queues.
  void data_xmit(proto::Micros now);

  /// Commands are held for another portal group, and it is time that somebody logs in there on the side, with our
  /// ISID, and out again (Host::add_errand()). Told once, until errand_over().
  bool may_want_errand() const noexcept { return escalation_.held().count() > 0; }
  std::optional<PortalGroup> take_errand(proto::Micros now);
  /// `reinstated`: it was logged in to that group; nullptr: it was not.
  void errand_over(const PortalGroup* reinstated, proto::Micros now);

  bool has_socket_requests() const noexcept { return !socket_requests_.empty(); }
  bool next_socket_request(SocketRequest& request);
  bool has_events() const noexcept { return !events_.empty(); }
  bool next_event(SessionEvent& event);
  bool has_recovery_events() const noexcept { return escalation_.has_events(); }
  /// What the ladder did.
  bool next_recovery_event(RecoveryEvent& event) { return escalation_.next_event(event); }
  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);

  /// The machine was asleep for so long, before `now`, and the clock that `now` is of has stood still. Nobody has
  /// been heard of for longer than it seems: connections are pinged, and it counts in SessionEvent::outage. Commands
  /// keep what time they have left.
  void on_slept(proto::Micros length, proto::Micros now) noexcept;

  SessionState state() const noexcept { return state_; }
  /// teardown() was asked for.
  bool stopping() const noexcept { return stopping_; }
  const SessionSettings& settings() const noexcept { return settings_; }
  const SessionCounters& counters() const noexcept { return counters_; }
  /// Tasks, management included, that are sent and not answered, or whose data is still in a send queue.
  std::uint16_t tasks_in_use() const noexcept { return tasks_.in_use(); }
  std::uint16_t connection_count() const noexcept { return static_cast<std::uint16_t>(connections_.size()); }
  Connection& connection(std::uint16_t index) noexcept { return *connections_[index]; }
  /// Why the session is not logged in, for people; empty when it is.
  const std::string& trouble() const noexcept { return trouble_; }
  // For views; nothing here is needed to drive the session.
  /// Since when it is logged in, or is not, from its setup() on; whatever it tries meanwhile.
  proto::Micros turned_at() const noexcept { return turned_at_; }
  std::uint16_t tsih() const noexcept { return tsih_; }
  const proto::iscsi::Isid& isid() const noexcept { return isid_; }
  /// Where it is, or was last.
  const PortalGroup& group() const noexcept { return group_; }
  /// The way to the portal that it is at, or tries.
  const PortalChoice& portals() const noexcept { return portals_; }
  /// Commands of lost sessions that wait for a proof.
  std::size_t held_commands() const noexcept { return escalation_.held().count(); }
  std::uint32_t cmd_sn() const noexcept { return cmd_sn_; }
  std::uint32_t exp_cmd_sn() const noexcept { return exp_cmd_sn_; }
  std::uint32_t max_cmd_sn() const noexcept { return max_cmd_sn_; }
  std::uint16_t task_count_max() const noexcept { return tasks_.size(); }
  const TaskList& running() const noexcept { return running_; }
  const Escalation& escalation() const noexcept { return escalation_; }
  const Connection& connection(std::uint16_t index) const noexcept { return *connections_[index]; }
  /// The SCSI command that runs under this tag, or nullptr.
  const Task* find_task(std::uint32_t itt) noexcept { return tasks_.itt_to_ctask(itt); }

  /// Parameters in force since the last login.
  const proto::iscsi::SessionParameters& parameters() const noexcept { return parameters_; }

 private:
  friend class Connection;
  friend class Escalation;
  friend class HeldCommands;

  /// A further connection's way into the session: when it is tried (again), or kNever once the target refused it.
  using JoinTimes = std::vector<proto::Micros>;

  void enter(SessionState state, proto::Micros now);
  void tell(SessionEvent::Kind kind, std::uint16_t connection, std::string text);
  void tell_unanswered(std::string keys);
  void tell_unit_reset(std::uint64_t lun);
  void tell_unit_answer(const ScsiCommand& command);
  void tell_unit_event(std::uint16_t connection, std::uint64_t lun, std::span<const std::uint8_t> data);
  void tell(SessionEvent event);
  void request_socket(SocketRequest request);
  void forget_socket_request(std::uint16_t connection);
  bool all_free() const noexcept;

  // Life of the session (session_life.cpp).
  void open_leading(proto::Micros now);
  bool may_join() const noexcept;
  void join_connections(proto::Micros now);
  void login_done(Connection& connection, proto::Micros now);
  std::string login_text(const Connection& connection, std::size_t granted) const;
  void conn_failure(Connection& connection, ConnectionError error, proto::Micros now);
  void join_failed(Connection& connection, const std::string& why, proto::Micros now);
  bool only_a_ping_is_missing(const Connection& connection, ConnectionError error, proto::Micros now) const noexcept;
  std::string loss_hint(const Connection& connection, ConnectionError error, proto::Micros now);
  void connection_free(proto::Micros now);
  void recover(proto::Micros now);
  void back_off(proto::Micros now);
  void wait_before_reopen(proto::Micros length) noexcept {
    if (!NBDGW_MUTANT(asked_pause_ignored)) time2wait_ = std::min(length, kMaxTime2Wait);
  }
  void begin_logout(proto::Micros now);
  void logged_out(proto::Micros now);
  void abort_scsi_task(Task& task, const Proof& proof);
  void note_how_far_tasks_went() noexcept;
  void lose_scsi_tasks(proto::Micros now);
  void lose_scsi_task(Task& task, proto::Micros now);
  void give_up_commands();
  void tell_of_held_commands();
  std::uint32_t scsi_tasks_running() const noexcept;
  proto::Micros last_sign_of_life() const noexcept;
  void fail_pending(Outcome outcome);

  // Command window (session_transmit.cpp).
  void update_cmdsn(const proto::iscsi::TargetSequence& sequence) noexcept;
  bool window_open() const noexcept;
  bool could_send_command() const noexcept;
  bool next_comes_in_order(const Connection& way) const noexcept;
  Connection* pick_connection() const noexcept;
  Connection* liveliest_connection() const noexcept;
  void suspend_queue() noexcept { queue_suspended_ = true; }
  void resume_queue() noexcept { queue_suspended_ = false; }
  void start_command(ScsiCommand& command, Task& task, Connection& connection, proto::Micros now);

  // The one way a task ends (session_task.cpp).
  void complete_scsi_task(Task& task, Outcome outcome);
  void complete_task(Task& task, TaskState state);
  void put_task(Task& task);
  void free_task(Task& task);
  bool awaits_others(const ScsiCommand& command, std::uint32_t below) const noexcept;
  void tell_last_ends();
  void forget_last_ends(Outcome outcome);
  void done(ScsiCommand& command);
  void count_end(const ScsiCommand& command, proto::Micros now) noexcept;

  proto::BellPull bell_;
  SessionSettings settings_;
  const proto::iscsi::Isid isid_;
  proto::RandomSource& random_;
  SessionState state_ = SessionState::free;
  proto::Micros turned_at_ = 0;
  std::string trouble_;
  proto::iscsi::SessionParameters parameters_;
  std::uint16_t tsih_ = 0;
  PortalGroup group_;
  std::string unanswered_;  // keys of the last login that had no answer, as told
  std::uint32_t cmd_sn_ = 1;
  std::uint32_t exp_cmd_sn_ = 1;
  std::uint32_t max_cmd_sn_ = 1;

  TaskPool tasks_;
  TaskList running_;
  std::vector<std::unique_ptr<Connection>> connections_;
  Escalation escalation_{*this};
  bool queue_suspended_ = false;  // no command is given to a connection
  JoinTimes join_at_;

  PendingCommands pending_;
  ScsiCommand* done_first_ = nullptr;
  ScsiCommand* done_last_ = nullptr;
  /// A command that ScsiCommand::ends_last is about, and those that it waits for.
  struct LastEnd {
    ScsiCommand* command = nullptr;
    std::uint32_t below = 0;  // a CmdSN: what was sent later is none of its business
  };
  std::vector<LastEnd> last_ends_;
  std::map<std::uint64_t, std::vector<LeftWrites>> left_;  // by LUN, when it was given up
  void note_what_is_left();
  /// In place of what a session before this one may have left with the target, until that is proven to be over.
  struct Suspicion final : ScsiCommand, CommandSink {
    void on_command_done(ScsiCommand& command, proto::Micros now) override;
    bool over = false;
  };
  std::vector<std::unique_ptr<Suspicion>> suspicions_;

  // Finding the way back (session_life.cpp).
  PortalChoice portals_{settings_.portals};
  bool progress_ = false;  // a command of a client was answered since the last login
  proto::Micros logged_in_at_ = proto::kNever;
  std::uint32_t short_lives_ = 0;       // sessions in a row that the target has ended soon after their login
  std::uint32_t unanswered_pings_ = 0;  // sessions in a row that were lost for want of nothing but a NOP-In
  proto::Micros reopen_at_ = proto::kNever;
  proto::Micros backoff_ = 0;
  std::optional<proto::Micros> time2wait_;  // asked for by the target, before the next login
  proto::Micros logout_deadline_ = proto::kNever;
  proto::Micros silent_since_ = proto::kNever;  // the last sign of life before the session was lost
  bool own_doing_ = false;   // we have ended the last session ourselves, to go back to where it was
  bool lost_by_us_ = false;  // the same, or to go elsewhere
  bool stopping_ = false;
  bool answers_ = false;  // when the session was lost the target answered pings

  std::vector<SocketRequest> socket_requests_;
  std::vector<SessionEvent> events_;
  SessionCounters counters_;
};

}  // namespace nbdgw::initiator
