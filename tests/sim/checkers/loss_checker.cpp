#include "tests/sim/checkers/loss_checker.hpp"

#include <string>

#include "gateway/device/disposition.hpp"

namespace nbdgw::sim {
namespace {

/// From a READ's coming to when the gateway knows of the loss.
constexpr Micros kLossKnown = 2 * proto::kSecond;

}  // namespace

void LossChecker::on_request(std::uint32_t client, std::uint64_t cookie) {
  asked_.insert({client, cookie});
  row_ = {};
}

void LossChecker::on_reply(std::uint32_t client, std::uint64_t cookie) {
  if (asked_.erase({client, cookie}) > 0) row_ = {};
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
