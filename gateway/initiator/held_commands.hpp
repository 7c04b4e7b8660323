#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/left_writes.hpp"
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
  /// In place of all that a session before this one has left with the target, in that group; null: wherever a login
  /// leads. Nobody knows which blocks that writes, so until it is proven to be over nothing goes to the LUN.
  void hold_legacy(ScsiCommand& command, const LeftWrites* left);
  /// The session is there, and has been since before that was held.
  void look_at_legacies();
  /// There is a LUN to which nothing may go for what is held: holds_up() tells which.
  bool holds_up_luns() const noexcept { return awaiting_ > 0 || legacies_ > 0; }
  bool holds_up(std::uint64_t lun) const noexcept;
  /// Of what is held; maybe more than once.
  std::vector<std::uint64_t> luns() const;
  /// Where what is held of the LUN was.
  void list(std::uint64_t lun, std::vector<LeftWrites>& left) const;

  /// There is a session again, in this group. Hands back what that proves; `text` tells the proofs. Of the rest some
  /// await a reset of their LUN in the new session: awaits_reset() tells which.
  std::uint32_t on_session_up(const PortalGroup& group, std::string& text);
  /// It is lost again: what it had yet to reset, a later one must.
  void on_session_lost() noexcept;

  bool awaits_reset() const noexcept { return awaiting_ > 0; }
  bool awaits_reset(std::uint64_t lun) const noexcept;
  /// The LUN that is to be reset next: the one whose writes have been under way for the shortest time. A target
  /// answers when it is done with what it is at work on, and the others wait for as long as one that is slow takes.
  std::optional<std::uint64_t> next_reset() const;
  /// A function that ends all commands of the LUN (kNoLun: of all LUNs), whoever sent them, completed in the new
  /// session. Returns how many commands it has handed back; `text` tells the proofs.
  std::uint32_t on_reset(std::uint64_t lun, proto::iscsi::TaskManagementFunction function, std::string& text);

  // An errand: a login on the side into a group that commands are held for. It reinstates their old session there and
  // goes again, while the session that has taken its place goes on.

  /// Where to, if it is time for one; once, until errand_over().
  std::optional<PortalGroup> take_errand(proto::Micros now);
  /// When take_errand() has something; kNever: there is nothing, or nothing that would lead there for sure.
  proto::Micros errand_due() const noexcept;
  /// It has logged in, in that group. Returns how many commands that has handed back; `text` tells the proofs. Others
  /// await a reset of their LUN now.
  std::uint32_t on_reinstated(const PortalGroup& group, std::string& text);
  /// It has come back, with or without.
  void errand_over(bool good, proto::Micros now) noexcept;

  /// The end: everything is handed back as path_lost.
  void give_up();

  std::size_t count() const noexcept { return held_.size(); }
  /// How many of them no session but one in another group than the present one can prove.
  std::size_t count_elsewhere() const noexcept { return held_.size() - awaiting_; }
  /// The group that the first of those was in; count_elsewhere() must not be 0.
  const PortalGroup& elsewhere() const noexcept;

  static constexpr proto::Micros kFirstErrand = proto::kSecond;
  static constexpr proto::Micros kErrandPause = 30 * proto::kSecond;  // the longest, from one to the next

 private:
  struct Held {
    ScsiCommand* command = nullptr;
    std::size_t group = 0;  // in groups_
    bool acknowledged = false;
    bool all_data_sent = false;
    bool awaits_reset = false;
    bool reinstated = false;  // a login into its group has ended its session
    bool legacy = false;      // hold_legacy()
    bool anywhere = false;    // the same: nobody knows in which group
  };

  std::optional<Proof> proof_of_reinstatement(Held& held) const noexcept;
  std::optional<Proof> proof_of_login(Held& held, const PortalGroup& group) const noexcept;
  template <typename Proven>
  std::uint32_t hand_back(Proven proven, std::string& text);

  Session& session_;
  std::vector<Held> held_;  // in the order of their losses
  std::vector<PortalGroup> groups_;
  std::size_t awaiting_ = 0;  // of held_
  std::size_t legacies_ = 0;  // the same
  proto::Micros errand_at_ = 0;
  proto::Micros errand_pause_ = kFirstErrand;
  bool on_errand_ = false;
};

}  // namespace nbdgw::initiator
