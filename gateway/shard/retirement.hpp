#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/bridge/export.hpp"
#include "gateway/shard/admin_state.hpp"
#include "gateway/shard/chore.hpp"
#include "gateway/shard/session_driver.hpp"
#include "gateway/shard/session_export.hpp"
#include "gateway/shard/shard.hpp"

namespace nbdgw::shard {

/// What is left of an export that has gone, for the one that may come in its place.
struct ExportLegacy {
  std::string name;
  std::string iqn;
  std::uint64_t lun = 0;  // as on the wire
  AdminState admin_state = AdminState::ready;
  bridge::CacheLegacy cache;
};

ExportLegacy legacy_of(const SessionExport& slot, proto::Micros now);

/// Takes exports, and sessions with their drivers, off a shard that runs, in good order and without a look at the
/// others: the clients finish what is in flight and are sent away; when nothing of an export is with its session any
/// more it is destroyed; a session whose exports have no clients any more logs out, and is destroyed with its driver.
///
/// How long that takes: the clients have `limit`. A command that hangs then is the ladder's business if its session
/// stays; the end of a session ends it, within the target's timeouts.logout.
class Retirement final : public Chore {
 public:
  /// The lists that own what lives on the shard; they belong to its thread.
  using Drivers = std::vector<std::unique_ptr<SessionDriver>>;
  using Exports = std::vector<std::unique_ptr<SessionExport>>;

  /// Of one shard. All exports of a session that goes, go.
  struct Leavers {
    std::vector<SessionExport*> exports;
    std::vector<SessionDriver*> drivers;
    bool empty() const noexcept { return exports.empty() && drivers.empty(); }
  };

  /// On the shard's thread, where `done` is called, too, when all of them are gone.
  using Done = std::function<void(std::vector<ExportLegacy>)>;
  Retirement(Shard& shard, Drivers& drivers, Exports& exports, Leavers leavers, proto::Micros limit, Done done,
             proto::Micros now);

  bool advance(proto::Micros now) override;
  proto::Micros next_deadline() const noexcept override;

 private:
  bool free_if_idle(SessionExport& slot, proto::Micros now);
  bool advance(SessionDriver& driver, proto::Micros now);

  Shard& shard_;
  Drivers& drivers_;
  Exports& exports_;
  Leavers leavers_;
  const proto::Micros deadline_;
  bool late_ = false;
  std::vector<const SessionDriver*> stopping_;  // whose session was asked to log out
  Done done_;
  std::vector<ExportLegacy> legacies_;
};

}  // namespace nbdgw::shard
