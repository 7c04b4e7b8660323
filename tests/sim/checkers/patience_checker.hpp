#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/site.hpp"

namespace nbdgw::sim {

/// It passes by itself, or does no harm at all.
bool passes(Fault fault) noexcept;

/// What passes is waited for: nobody is told an error for it.
///
/// Judged is a target while all that has struck there passes: a LUN that is away or not ready for a while, or hangs
/// for less than a command's time, logins that are refused, windows that stand still. What ends a command or its
/// session, too, may strike as often as each command is sent again (ExportConfig::retries); a target that moves a
/// part at a time is sent the rest, however often that is. After anything else an error may have its reason, and the
/// target is not judged any more. Nor are exports that wait for a time only, and worlds in which exports are made
/// anew or the gateway is started again: who is sent away is told so. Nor what FLUSH and FUA say of the cache: an
/// outage of some seconds with a unit attention behind it may have been a power cycle. Nor what is told of a request
/// that itself costs its session each time (LossChecker), or that was under way while the LUN had something to tell
/// more often than it is sent again for that (device::kMaxUnitAttentions).
class PatienceChecker {
 public:
  PatienceChecker(Complaints& complaints, const Timeline& timeline, const Site& site)
      : complaints_(complaints), timeline_(timeline), site_(site) {}

  /// `hastiest`: with the fewest retries and the shortest time that the exports ever have.
  void begin(const GatewaySetup::Target& hastiest);
  void on_fault(Fault fault) noexcept;
  /// By an operator: a command may come back for it.
  void on_rung_asked() noexcept { ++ended_; }
  void on_reply(const Client& client, const AskedRequest& request, std::uint32_t error);

 private:
  Complaints& complaints_;
  const Timeline& timeline_;
  const Site& site_;
  std::map<std::string, std::uint32_t> retries_;  // of the exports that are judged
  std::uint32_t ended_ = 0;                       // commands or sessions, so often
  bool lasts_ = false;                            // something that has struck
  bool outlasts_hangs_ = false;                   // a command has more time than a LUN ever hangs
  std::vector<Micros> told_at_;                   // when there was something to tell of a LUN
};

}  // namespace nbdgw::sim
