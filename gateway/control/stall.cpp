#include "gateway/control/stall.hpp"

#include "config/units.hpp"
#include "gateway/device/disposition.hpp"

namespace nbdgw::control {

using config::format_duration;
using proto::kSecond;
using proto::Micros;

Stall worst_case_stall(const config::Target& target) noexcept {
  const config::TargetTimeouts& timeouts = target.timeouts;
  Stall stall;
  stall.ping = timeouts.nop_interval > 0 ? timeouts.nop_timeout : 0;
  stall.climb = timeouts.command + stall.ping + timeouts.abort + timeouts.lu_reset + timeouts.target_reset;
  stall.tries = target.retries + 1;
  if (target.on_path_loss == config::PathLoss::hold) {
    stall.without = stall.total = proto::kNever;
    return stall;
  }
  stall.without = timeouts.replacement;
  Micros total = stall.tries * stall.climb;
  for (std::uint32_t retry = 0; retry < target.retries; ++retry) {
    total += stall.without + device::wait_before_error_retry(static_cast<std::uint8_t>(retry));
  }
  stall.total = (total + kSecond - 1) / kSecond * kSecond;
  return stall;
}

std::string describe(const Stall& stall, const config::Target& target) {
  const config::TargetTimeouts& timeouts = target.timeouts;
  const std::string one_try = std::to_string(stall.tries) + " tries of up to " + format_duration(stall.climb) +
                              " (command " + format_duration(timeouts.command) +
                              (stall.ping > 0 ? ", ping " + format_duration(stall.ping) : "") + ", abort " +
                              format_duration(timeouts.abort) + ", LUN reset " + format_duration(timeouts.lu_reset) +
                              ", target reset " + format_duration(timeouts.target_reset) + ")";
  // Seen with Debian 12's kernel: with one connection and no timeout it only logs.
  const std::string kernel =
      " (nbd-client with one connection and without -timeout; with several the kernel takes 30 s, queue/io_timeout): "
      "on a request that times out the kernel's client closes its connection, and without another one I/O fails";
  if (stall.total == proto::kNever) {
    return "requests wait for as long as there is no path (on_path_loss: hold); a command that is never answered "
           "ends "
           "with an I/O error after " +
           one_try + ". NBD clients must have no timeout of their own" + kernel;
  }
  return "a command that is never answered ends with an I/O error after " + format_duration(stall.total) +
         " at the latest: " + one_try + ", and up to " + format_duration(stall.without) +
         " without a path before each retry. NBD clients should have no timeout of their own, or a longer one" +
         kernel;
}

}  // namespace nbdgw::control
