#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/portal_group.hpp"
#include "proto/iscsi/constants.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

class Session;

/// Commands that were with the target when their session was lost, and of which nothing proves yet that it will not
/// run them any more. They are not handed back: each waits here for its proof, through as many logins and losses as
/// it takes. A command remembers in which portal group it was, for another group's session ends nothing there.
class HeldCommands {
 public:
  explicit HeldCommands(Session& session) noexcept : session_(session) {}

  /// What was known of a command when its session was lost.
  struct Known {
    bool acknowledged = false;   // the target has told that it received it (ExpCmdSN was beyond its CmdSN)
    bool all_data_sent = false;  // the target may have had all that it would write, and so be at work on it
  };
  void hold(ScsiCommand& command, const PortalGroup& group, const Known& known, proto::Micros now);

  /// There is a session again, in this group. Hands back what that proves; `text` tells the proofs. Of the rest some
  /// await a reset of their LUN in the new session: awaits_reset() tells which.
  std::uint32_t on_session_up(const PortalGroup& group, std::string& text);
  /// It is lost again: what it had yet to reset, a later one must.
  void on_session_lost() noexcept;

  bool awaits_reset() const noexcept { return awaiting_ > 0; }
  bool awaits_reset(std::uint64_t lun) const noexcept;
  /// The LUN that is to be reset next.
  std::optional<std::uint64_t> next_reset() const noexcept;
  /// A function that ends all commands of the LUN (kNoLun: of all LUNs), whoever sent them, completed in the new
  /// session. Returns how many commands it has handed back; `text` tells the proofs.
  std::uint32_t on_reset(std::uint64_t lun, proto::iscsi::TaskManagementFunction function, std::string& text);

  /// The end: everything is handed back as path_lost.
  void give_up();

  std::size_t count() const noexcept { return held_.size(); }
  /// How many of them no session but one in another group than the present one can prove.
  std::size_t count_elsewhere() const noexcept { return held_.size() - awaiting_; }
  /// The group that the first of those was in; count_elsewhere() must not be 0.
  const PortalGroup& elsewhere() const noexcept;

 private:
  struct Held {
    ScsiCommand* command = nullptr;
    std::size_t group = 0;  // in groups_
    bool acknowledged = false;
    bool all_data_sent = false;
    bool awaits_reset = false;
    bool same_group = false;  // as the session that it awaits a reset in
  };

  std::optional<Proof> proof_of_login(Held& held, const PortalGroup& group) const noexcept;
  template <typename Proven>
  std::uint32_t hand_back(Proven proven, std::string& text);

  Session& session_;
  std::vector<Held> held_;  // in the order of their losses
  std::vector<PortalGroup> groups_;
  std::size_t awaiting_ = 0;  // of held_
};

}  // namespace nbdgw::initiator
