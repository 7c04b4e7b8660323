#pragma once

#include <cstdint>
#include <string>

#include "proto/iscsi/constants.hpp"

namespace nbdgw::initiator {

class Escalation;
class HeldCommands;
class Session;
struct ScsiCommand;

/// Why the target cannot run a command any more, or why it would do no harm: what must be in hand before the command
/// is sent again, or anything else is written where it writes. Only the initiator can make one, and only when one of
/// the events has come about that are proofs. None of them is: a timeout, a socket that is closed, the answer "task
/// does not exist", a login elsewhere, or a unit attention.
class Proof {
 public:
  enum class Kind : std::uint8_t {
    answered,    // the target has answered the command, be it with TASK ABORTED
    never_sent,  // no byte of it has left
    harmless,    // it changes nothing, whenever it runs (writes_nothing())
    /// A task management function over it completed (response 0), behind all that was sent of it, and nothing of it
    /// was sent afterwards.
    task_management,
    /// Its session was reinstated by a login into the same target portal group before all of its data was sent: the
    /// target has never had what it would write (RFC 7143 sections 4.4 and 6.3.5).
    reinstated,
    /// The same, but it may have had all: a reset over the new session completed, which the target answers when what
    /// was inside SCSI is over.
    reinstated_and_reset,
    reinstated_trusted,  // the same without the reset, as `after_reinstatement: trust` has it
    /// The old session had acknowledged it, and a reset of its LUN over the nexus of another portal group completed.
    reset_elsewhere,
    elsewhere_trusted,  // a login into another portal group is taken for it, as `other_group: trust` has it
  };
  static constexpr std::int32_t kNoGroup = -1;

  Kind kind() const noexcept { return kind_; }
  /// TargetPortalGroupTag of the session that it was shown in; kNoGroup: the target did not tell, or it is about
  /// none.
  std::int32_t group() const noexcept { return group_; }
  /// task_management, reinstated_and_reset, reset_elsewhere: the function that completed.
  proto::iscsi::TaskManagementFunction function() const noexcept { return function_; }
  /// task_management: the number of the NOP round that went ahead of it; 0: none was needed.
  std::uint32_t round() const noexcept { return round_; }
  /// The command came back because its session was lost or could not be had, not because of what followed.
  bool came_with_the_loss() const noexcept { return kind_ == Kind::never_sent || kind_ == Kind::harmless; }
  /// The target may have had it, or a part of it.
  bool was_sent() const noexcept { return kind_ != Kind::never_sent; }
  /// For people, as in "LOGICAL UNIT RESET completed, behind NOP round 3".
  std::string text() const;

 private:
  friend class Escalation;
  friend class HeldCommands;
  friend class Session;
  friend struct ProofMaker;  // the tests': for what stands in for a session

  explicit Proof(Kind kind, std::int32_t group = kNoGroup, proto::iscsi::TaskManagementFunction function = {},
                 std::uint32_t round = 0) noexcept
      : kind_(kind), function_(function), group_(group), round_(round) {}

  Kind kind_;
  proto::iscsi::TaskManagementFunction function_;
  std::int32_t group_;
  std::uint32_t round_;
};

const char* to_string(Proof::Kind kind) noexcept;

/// Whether the command changes no data and no state of the LUN, so that it may run late, or twice. Decided by a list
/// of operation codes: what is not known to be harmless is not.
bool writes_nothing(const ScsiCommand& command) noexcept;

}  // namespace nbdgw::initiator
