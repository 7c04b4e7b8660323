#include "tests/sim/checkers/debt_checker.hpp"

#include <string>

namespace nbdgw::sim {
namespace {

constexpr std::uint32_t kIoError = 5;  // NBD_EIO

}  // namespace

void DebtChecker::on_loss(std::uint32_t disk, Micros begun) {
  if (begun < forgotten_at_) return;
  for (auto& [id, link] : links_) {
    if (link.disk == disk && begun > link.told_at) link.debts.push_back({.lost_at = timeline_.now()});
  }
}

void DebtChecker::on_loss_known(std::uint32_t disk, Micros lost_at) {
  for (auto& [id, link] : links_) {
    if (link.disk != disk) continue;
    for (Debt& debt : link.debts) {
      if (debt.lost_at != lost_at || debt.known) continue;
      debt.known = true;
      judge(id, link, debt);
    }
  }
}

void DebtChecker::on_reply(const AskedRequest& request, std::uint32_t error) {
  const auto found = links_.find(request.link);
  if (request.command != NbdCommand::flush || found == links_.end()) return;
  Link& link = found->second;
  if (error == kIoError) {
    if (!link.debts.empty()) ++paid_;
    link.debts.clear();
    link.told_at = timeline_.now();
    return;
  }
  if (error != 0) return;
  for (Debt& debt : link.debts) {
    if (request.sent_at <= debt.lost_at) continue;
    debt.trusted_at = request.sent_at;
    judge(request.link, link, debt);
  }
}

void DebtChecker::judge(std::uint64_t id, const Link& link, const Debt& debt) {
  if (!debt.known || debt.trusted_at < 0) return;
  complaints_.complain("debts", "connection " + std::to_string(id) + " of disk " + std::to_string(link.disk) +
                                    ": a FLUSH sent at " + std::to_string(debt.trusted_at) +
                                    " us has succeeded, and none has failed since acknowledged writes were lost at " +
                                    std::to_string(debt.lost_at) + " us, which the gateway knows");
}

}  // namespace nbdgw::sim
