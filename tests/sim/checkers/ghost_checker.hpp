#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "tests/sim/oracle.hpp"
#include "tests/sim/target/commands.hpp"

namespace nbdgw::sim {

/// Of one target: no write takes effect behind one that the gateway has sent later for the same blocks.
///
/// The rule. Two commands that write the same block are never both at a target and able to take effect; and once the
/// later one has had its turn the earlier one does not come any more. "Later" is the order in which the gateway has
/// sent them: by session, as it has one at a time for commands, and in a session by CmdSN. Where it has the disk
/// under two names, and so two sessions, nobody but the target knows in what order those have sent: there it is the
/// order in which commands come.
///
/// The reasons. The fence lets a command that writes go only when everything earlier that overlaps it is over, and
/// what is over is told by a proof alone: the answer, a function that completed, or what a new login ends
/// (ARCHITECTURE.md, "The life of a write", "When the session is lost"). So whoever sends a command again, or another
/// one for the same blocks, claims that the target cannot run the first one any more. Here this is looked up: the
/// target's table of commands knows. Whether the first one does take effect later is a matter of luck, so the claim
/// is judged when the second one comes, and what takes effect all the same is judged when it does.
///
/// What does not count as able to take effect: a command that is already to be answered with an error, and one that a
/// function has let go of while its data had been asked for (tgt): it needs data that its initiator will not send any
/// more. If that comes nevertheless, it counts again.
///
/// Targets that say of a command that is still running that it has ended (Fault::function_lies) break this, and no
/// initiator could help it: that fault is never drawn.
class GhostChecker {
 public:
  explicit GhostChecker(Complaints& complaints) : complaints_(complaints) {}

  /// A command that writes has its turn.
  void on_writer(const CommandTable& table, const TargetCommand& command);
  void on_write(const WriteEvent& event);

 private:
  struct Order {
    std::uint32_t session = 0;
    std::uint32_t cmd_sn = 0;
    std::uint32_t record = 0;  // counts what comes to the target
    std::uint64_t isid = 0;
    bool operator==(const Order&) const = default;
  };
  static Order order_of(const Origin& origin) noexcept {
    return {origin.session, origin.cmd_sn, origin.record, origin.isid};
  }
  static bool is_earlier(const Order& a, const Order& b) noexcept {
    if (a.isid != b.isid) return a.record < b.record;
    return a.session != b.session ? a.session < b.session : comes_before(a.cmd_sn, b.cmd_sn);
  }
  std::vector<Order>& newest_on(const Medium& medium);
  void look_for_company(const CommandTable& table, const TargetCommand& command, const CommandRecord& record);
  void check(const Medium& medium, std::uint64_t lba, std::uint64_t blocks, const Origin& origin, const char* what);

  Complaints& complaints_;
  std::map<const Medium*, std::vector<Order>> newest_;  // by block: of those that have had their turn
};

}  // namespace nbdgw::sim
