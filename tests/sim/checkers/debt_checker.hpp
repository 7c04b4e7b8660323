#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "tests/sim/client/client_observer.hpp"
#include "tests/sim/oracle.hpp"

namespace nbdgw::sim {

/// Whoever could rely on what a cache has lost is told of it, once, before it is told again that all is on the disk.
///
/// The rule. When a power loss, or a SYNCHRONIZE CACHE or write that has failed in the cache, takes what was
/// acknowledged and neither flushed nor made with FUA, each connection that was attached to the disk then is owed a
/// failing FLUSH (ARCHITECTURE.md, "The life of a write"). It may not be told that a FLUSH has succeeded before that.
/// Attached is what the gateway shows: a client may learn much later that it has been sent away.
///
/// From when on: a FLUSH that was sent after the loss. Its SYNCHRONIZE CACHE comes to the target after that, too, and
/// ends well only if the loss was told to another command before. The answer of that one may be on its way yet, over
/// another connection; but the gateway can wait for it, and a database that has been told that all is on the disk
/// throws its log away. So this is judged once the gateway has been told, whenever that is: when the target has its
/// acknowledgement of the answer. A loss whose answer never arrives (its connection ends, and the command succeeds
/// when it is sent again) is never known.
///
/// For what: a FLUSH that has failed speaks for all writes before it, and those are never told twice to the same
/// connection. So a loss is owed to a connection only if some of what is lost was sent after its last failing FLUSH
/// was answered.
///
/// Nor is it owed by a process that knows nothing of the one before, if all that is lost was begun before it: that
/// needs a record which outlives a crash.
///
/// Who goes untold leaves a debt: the next FLUSH fails of a connection that has attached after the last loss (of
/// others it says what they were owed themselves). Left is what a connection was owed that ends when its loss is
/// known and with no FLUSH under way, whose answer could have told. From when on: once the gateway does not show its
/// client any more. Taken for paid with each FLUSH that fails; and where one is under way, or was when its connection
/// ended, nobody knows. Nor what becomes of it in another process, or where the export is made anew.
///
/// That what was flushed, or written with FUA, is there after a loss is the oracle's matter: Oracle::look_at_loss().
class DebtChecker {
 public:
  /// Whether the gateway shows the client with that connection.
  using Shows = std::function<bool(std::uint64_t)>;

  DebtChecker(Complaints& complaints, const Timeline& timeline) : complaints_(complaints), timeline_(timeline) {}
  /// `look`: who is shown now; an empty Shows where that cannot be told. Then, and without it, all are taken for
  /// shown that have heard nothing else.
  void watch(std::function<Shows()> look) { look_ = std::move(look); }

  void on_attached(std::uint32_t disk, std::uint64_t link) { links_[link] = {.disk = disk}; }
  void on_request(const AskedRequest& request);
  void on_lost(std::uint64_t link);
  void on_reply(const AskedRequest& request, std::uint32_t error);
  /// By a gateway that knows of no write before that.
  void on_all_forgotten() noexcept { forgotten_at_ = timeline_.now(); }
  /// Acknowledged writes are lost, the last of which was begun then. `of_power`: the target tells of it until it is
  /// heard.
  void on_loss(std::uint32_t disk, Micros begun, bool of_power = true);
  /// The gateway knows of what was lost then, and with the power since `from`.
  void on_loss_known(std::uint32_t disk, Micros from, Micros lost_at);

  /// The gateway says that writes to the disk may be lost, of which somebody was not told.
  void on_doubt(std::uint32_t disk);
  /// Nobody knows what becomes of what connections have left.
  void on_legacy(std::uint32_t disk);
  void on_legacies();
  /// Connections have left something, and the gateway may have them yet: their numbers.
  bool any_leaves() const noexcept {
    return std::ranges::any_of(disks_, [](const auto& each) { return !each.second.leaving.empty(); });
  }
  void look(const Shows& shows);

  /// FLUSHes that were owed and have failed.
  std::uint64_t paid() const noexcept { return paid_; }

 private:
  struct Debt {
    Micros lost_at;
    bool of_power = true;
    bool known = false;
    Micros trusted_at = -1;  // a FLUSH that was sent then has succeeded; -1: none has
  };
  struct Link {
    std::uint32_t disk = 0;
    Micros told_at = -1;  // its last FLUSH that has failed was answered; -1: none was
    std::vector<Debt> debts{};
    std::uint32_t flushes = 0;  // under way
    bool newcomer = true;       // there was no loss since
    bool of_before = false;     // its export, or the gateway, was made anew since
  };
  struct DiskDebts {
    std::vector<std::uint64_t> leaving{};  // connections that leave a debt
    std::vector<Micros> left{};            // debts that are left, and since when
  };

  void judge(std::uint64_t id, const Link& link, const Debt& debt);
  void judge_left(std::uint64_t id, const Link& link, const AskedRequest& request);
  static void pay(DiskDebts& debts);

  Complaints& complaints_;
  const Timeline& timeline_;
  std::function<Shows()> look_;
  std::map<std::uint64_t, Link> links_;       // that are attached
  std::map<std::uint32_t, DiskDebts> disks_;  // where there is any
  Micros forgotten_at_ = -1;
  std::uint64_t paid_ = 0;
};

}  // namespace nbdgw::sim
