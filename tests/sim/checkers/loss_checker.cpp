#include "tests/sim/checkers/loss_checker.hpp"

#include <algorithm>
#include <string>

#include "gateway/device/disposition.hpp"

namespace nbdgw::sim {
namespace {

/// From a READ's coming to when the gateway knows of the loss.
constexpr Micros kLossKnown = 2 * proto::kSecond;

}  // namespace

void LossChecker::begin(const GatewaySetup::Target& most) {
  for (const bridge::ExportConfig& each : most.exports) retries_ = std::max<std::uint32_t>(retries_, each.retries);
}

bool LossChecker::is_about(const Client& client, const AskedRequest& request) const noexcept {
  const auto disk = std::ranges::find(site_.disks(), client.oracle().disk(), &Disk::number);
  if (disk == site_.disks().end() || disk->home->options().deadly_block >= disk->home->blocks()) return false;
  const std::uint64_t cells = disk->home->block_size() / Oracle::kCell;
  const std::uint64_t first = disk->home->options().deadly_block * cells;
  return request.cell < first + cells && first < request.cell + request.cells;
}

void LossChecker::on_request(const Client& client, const AskedRequest& request) {
  if (!is_about(client, request)) return;
  asked_.insert({client.number(), request.cookie});
  row_ = {};
}

void LossChecker::on_reply(const Client& client, const AskedRequest& request) {
  if (asked_.erase({client.number(), request.cookie}) > 0) row_ = {};
}

void LossChecker::on_deadly() {
  if (unsure_ || asked_.size() != 1) return;
  const Micros now = timeline_.now();
  if (row_.losses > retries_ && row_.last_at - row_.first_at >= device::kLossPatience + kLossKnown) {
    complaints_.complain("ladder", "a READ at which the session is lost is sent again after " +
                                       std::to_string(row_.losses) + " losses in " +
                                       std::to_string((row_.last_at - row_.first_at) / proto::kMillisecond) +
                                       " ms, and commands have " + std::to_string(retries_) + " retries");
  }
  if (row_.losses++ == 0) row_.first_at = now;
  row_.last_at = now;
}

}  // namespace nbdgw::sim
