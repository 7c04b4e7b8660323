#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/iscsi_target/gate.hpp"
#include "gateway/iscsi_target/login.hpp"
#include "gateway/iscsi_target/session.hpp"
#include "proto/bytes/buffer_pool.hpp"
#include "proto/random.hpp"

namespace nbdgw::iscsi_target {

class Connection;

/// What happened so far, for tests and for whoever watches.
struct Counters {
  std::uint64_t logins = 0;
  std::uint64_t login_failures = 0;
  std::uint64_t sessions_reinstated = 0;
  std::uint64_t connections_reinstated = 0;
  std::uint64_t commands = 0;        // SCSI commands executed
  std::uint64_t parked = 0;          // requests that came before their turn
  std::uint64_t ignored = 0;         // requests outside the command window, or received before
  std::uint64_t stray_data_out = 0;  // Data-Out for a task that is not, or no longer, there
  std::uint64_t rejects = 0;
  std::uint64_t task_set_full = 0;
  std::uint64_t aborted = 0;  // tasks ended without an answer
  std::uint64_t digest_errors = 0;
  std::uint64_t protocol_errors = 0;  // connections closed for what the initiator sent
};

/// An iSCSI target node with its portal groups (RFC 7143 section 4.1): its targets and the sessions with them.
/// Sockets and connections belong to the shell; all calls come from one thread.
class Server {
 public:
  /// The options have been checked with check_options(). `random` and `gate` must outlive the server; a null gate
  /// lets everything pass.
  Server(ServerOptions options, proto::RandomSource& random, Gate* gate = nullptr);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const ServerOptions& options() const noexcept { return options_; }
  const std::vector<TargetNode>& targets() const noexcept { return targets_; }
  const TargetNode* find_target(std::string_view name) const noexcept;
  const std::map<std::uint16_t, std::unique_ptr<Session>>& sessions() const noexcept { return sessions_; }
  Session* find_session(std::uint16_t tsih) const noexcept;
  const std::vector<Connection*>& connections() const noexcept { return connections_; }
  Counters& counters() noexcept { return counters_; }
  proto::RandomSource& random() noexcept { return random_; }
  Gate* gate() const noexcept { return gate_; }
  proto::BufferPool& buffers() noexcept { return buffers_; }

  /// A login is complete: makes the session or joins it. On success the connection belongs to the session.
  proto::iscsi::LoginStatus admit(Connection& connection, const Login& login);

  /// Takes the session out; it is destroyed when the call into the engine that led to this has ended (see tidy()).
  void bury(Session& session);

  /// The command windows of all sessions, and of those to come: Session::freeze_window().
  void freeze_window(bool frozen);
  bool window_frozen() const noexcept { return window_frozen_; }

  /// The portal groups that stand still; the shell looks for connections that are frozen, or not any more, after
  /// every call that may have changed it.
  void freeze_portals(std::vector<std::uint16_t> tags);
  bool is_frozen(std::uint16_t tag) const noexcept {
    return !frozen_portals_.empty() &&
           std::find(frozen_portals_.begin(), frozen_portals_.end(), tag) != frozen_portals_.end();
  }
  const std::vector<std::uint16_t>& frozen_portals() const noexcept { return frozen_portals_; }

  /// Write protection of the logical units of that number; their initiators are told when it changes. Only what they
  /// say of themselves: whoever asks for it refuses the writes.
  void protect(std::uint32_t lun, bool on);
  /// The logical units of that number say that they are another disk (LogicalUnit::pose_as()), and tell their
  /// initiators with this unit attention; without one nobody is told.
  void pose_as(std::uint32_t lun, const std::string& serial, std::optional<proto::scsi::AdditionalSense> code);
  /// They tell another number of blocks (LogicalUnit::tell_blocks()), and of that as pose_as() does.
  void tell_blocks(std::uint32_t lun, std::uint64_t blocks, std::optional<proto::scsi::AdditionalSense> code);
  void count_in_16_bits(std::uint32_t lun, bool on);
  /// Sessions begin without the unit attention that tells of their beginning; a loss of power is told all the same.
  void set_quiet(bool quiet) noexcept { quiet_ = quiet; }

  /// The power fails and comes back: what was not flushed and every task is gone, and every nexus, now or when it
  /// logs in next, is told with this unit attention by every logical unit. `drop`: with all sessions and connections.
  void lose_power(proto::scsi::AdditionalSense code, bool drop);
  /// What a logical unit has to tell a nexus that begins; nothing: it is quiet.
  std::optional<proto::scsi::AdditionalSense> first_attention(const SessionIdentity& nexus,
                                                              const LogicalUnit& unit) const;
  /// It has told it.
  void on_attention_told(const SessionIdentity& nexus, const LogicalUnit& unit, proto::scsi::AdditionalSense code);

  /// Every connection is told that it will be dropped, and wants to be closed once that is sent.
  void shut_down(proto::Micros now);

  // ---- for the shell
  // ------------------------------------------------------------------------------------------------

  /// A connection that has something to send or wants to be closed, each told once after every change; null: none. An
  /// event on one connection may make others ready: the shell asks until there is none.
  Connection* take_ready() noexcept;

  // ---- for connections
  // ----------------------------------------------------------------------------------------------

  void mark_ready(Connection& connection) noexcept;
  void forget(Connection& connection) noexcept;
  void enroll(Connection& connection);
  /// The time that the shell handed in last, with whatever connection.
  proto::Micros now() const noexcept { return now_; }
  void set_now(proto::Micros now) noexcept { now_ = now; }
  /// Destroys what was buried. Called at the end of every outside call into the engine.
  void tidy() noexcept;

 private:
  std::uint16_t new_tsih() noexcept;
  /// Who has been told of a loss of power is remembered for so many; one that is forgotten is told again.
  static constexpr std::size_t kMaxTold = 4096;

  proto::iscsi::LoginStatus open_session(Connection& connection, const Login& login);
  proto::iscsi::LoginStatus join_session(Connection& connection, const Login& login);

  ServerOptions options_;
  proto::RandomSource& random_;
  Gate* gate_;
  std::vector<TargetNode> targets_;
  std::unique_ptr<std::byte[]> arena_;
  proto::BufferPool buffers_;
  Counters counters_;
  std::vector<Connection*> connections_;
  Connection* ready_first_ = nullptr;
  Connection* ready_last_ = nullptr;
  std::vector<std::unique_ptr<Session>> graveyard_;
  std::map<std::uint16_t, std::unique_ptr<Session>> sessions_;
  std::uint16_t last_tsih_ = 0;
  bool window_frozen_ = false;
  bool quiet_ = false;
  std::vector<std::uint16_t> frozen_portals_;
  /// Of the last loss of power, if there was one, and who has been told of it.
  std::optional<proto::scsi::AdditionalSense> power_loss_;
  std::vector<std::pair<SessionIdentity, const LogicalUnit*>> told_;
  proto::Micros now_ = 0;
};

/// What is wrong with the options, in words for whoever wrote them; empty: nothing.
std::string check_options(const ServerOptions& options);

}  // namespace nbdgw::iscsi_target
