#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/unit/initiator/peer.hpp"

namespace nbdgw::test {

inline constexpr std::uint64_t kLun1 = 0x0001000000000000ULL;  // where Jobs put their commands
inline constexpr std::uint64_t kLun2 = 0x0002000000000000ULL;

/// Every time is another one, so that a test tells them apart. Pings are off: a silent command is overdue at once.
inline constexpr proto::Micros kCommandTimeout = 20 * proto::kSecond;
inline constexpr proto::Micros kAbortTimeout = 5 * proto::kSecond;
inline constexpr proto::Micros kLuResetTimeout = 7 * proto::kSecond;
inline constexpr proto::Micros kTargetResetTimeout = 9 * proto::kSecond;
initiator::SessionSettings ladder_settings(std::uint16_t connections = 1);
/// The same, with pings where the ladder asks for them: idle connections are left alone for so long that none is sent
/// for that.
inline constexpr proto::Micros kPingTimeout = 2 * proto::kSecond;
initiator::SessionSettings asking_settings(std::uint16_t connections = 1);

/// A Peer with words for what the escalation ladder says and hears.
class LadderPeer : public Peer {
 public:
  explicit LadderPeer(std::uint16_t connections = 1) : LadderPeer(ladder_settings(connections)) {}
  /// Logged in, with all connections. Pings, if the settings ask for them, are answered while `answers_pings` is set.
  explicit LadderPeer(initiator::SessionSettings settings, TargetKeys with = {});

  bool answers_pings = true;
  std::uint64_t pings = 0;
  std::vector<std::pair<std::uint16_t, Pdu>> unanswered_pings;
  void answer_pings();  // those

  /// The ladder asks a LUN with a TEST UNIT READY whether it answers again. Answered while `answers_questions` is
  /// set.
  bool answers_questions = true;
  std::uint64_t questions = 0;

  /// Makes and queues a command.
  Job& queue(initiator::Direction direction, std::uint32_t length, std::uint64_t lun = kLun1);
  /// The same, sent: the target has it, and acknowledges it with the next PDU that it sends. `cid`: where it must
  /// come.
  std::uint32_t take_command(Job& job, std::uint16_t cid = 0);
  using Peer::take_command;
  /// The same, and answered.
  void serve(Job& job, std::uint16_t cid = 0, std::uint8_t status = 0) {
    respond(cid, take_command(job, cid), status);
  }
  /// One command gets through.
  void work(std::uint64_t lun = kLun1);
  Job& hang(std::uint64_t lun = kLun1, std::uint16_t cid = 0);
  Job& hang(initiator::Direction direction, std::uint32_t length, std::uint64_t lun = kLun1, std::uint16_t cid = 0);
  /// Lets the tasks under way become overdue.
  void overdue() { advance(kCommandTimeout); }

  /// The next PDU on this connection, which must be a task management request: immediate, with the next CmdSN and the
  /// connection's ExpStatSN.
  proto::iscsi::TaskManagementRequest tmf(std::uint16_t cid = 0);
  proto::iscsi::TaskManagementRequest tmf(proto::iscsi::TaskManagementFunction function, std::uint16_t cid = 0);
  /// With a command overdue: refuses each function until the one of this rung is there.
  proto::iscsi::TaskManagementRequest climb_to(initiator::Rung rung);
  void answer(const proto::iscsi::TaskManagementRequest& request, proto::iscsi::TaskManagementResult result,
              std::uint16_t cid = 0);
  /// Nothing of the initiator's waits on any connection.
  bool silent();
  /// The first connection on which something waits.
  std::uint16_t busy();

  /// Until the session is there again; returns how long that took.
  proto::Micros log_in_again();

  /// The RecoveryEvents since the last call, as "rung outcome tasks".
  std::vector<std::string> told();
  const initiator::RecoveryEvent& last_told() const { return recovery_events.back(); }

  std::uint32_t next_cmd_sn = 1;  // that the initiator will use

 private:
  std::size_t told_ = 0;
};

using Told = std::vector<std::string>;

}  // namespace nbdgw::test
