#include "tests/sim/checkers/debt_checker.hpp"

#include <algorithm>
#include <string>

namespace nbdgw::sim {
namespace {

constexpr std::uint32_t kIoError = 5;  // NBD_EIO

}  // namespace

void DebtChecker::on_loss(std::uint32_t disk, Micros begun, bool of_power) {
  if (begun < forgotten_at_) return;
  const Shows shows = look_ ? look_() : Shows();
  for (auto& [id, link] : links_) {
    if (link.disk == disk && begun > link.told_at && (!shows || shows(id)))
      link.debts.push_back({.lost_at = timeline_.now(), .of_power = of_power});
  }
}

void DebtChecker::on_loss_known(std::uint32_t disk, Micros from, Micros lost_at) {
  for (auto& [id, link] : links_) {
    if (link.disk != disk) continue;
    for (Debt& debt : link.debts) {
      const bool told = debt.lost_at == lost_at || (debt.of_power && debt.lost_at >= from && debt.lost_at <= lost_at);
      if (!told || debt.known) continue;
      debt.known = true;
      judge(id, link, debt);
    }
  }
}

void DebtChecker::on_request(const AskedRequest& request) {
  const auto found = links_.find(request.link);
  if (request.command == NbdCommand::flush && found != links_.end()) ++found->second.flushes;
}

void DebtChecker::on_legacy(std::uint32_t disk) {
  disks_.erase(disk);
  for (auto& [id, link] : links_) {
    if (link.disk == disk) link.of_before = true;
  }
}

void DebtChecker::on_legacies() {
  disks_.clear();
  // Some hear only later that they were not taken along.
  for (auto& [id, link] : links_) link.of_before = true;
}

void DebtChecker::on_lost(std::uint64_t id) {
  const auto found = links_.find(id);
  if (found == links_.end()) return;
  const Link& link = found->second;
  // Its answer may have been sent.
  if (link.flushes > 0) {
    disks_.erase(link.disk);
  } else if (!link.of_before && std::ranges::any_of(link.debts, &Debt::known)) {
    disks_[link.disk].leaving.push_back(id);
  }
  links_.erase(found);
}

void DebtChecker::on_doubt(std::uint32_t disk) {
  for (auto& [id, link] : links_) {
    if (link.disk == disk) link.newcomer = false;
  }
}

void DebtChecker::look(const Shows& shows) {
  for (auto& [disk, debts] : disks_) {
    std::erase_if(debts.leaving, [&, &all = debts](std::uint64_t id) {
      if (shows(id)) return false;
      all.left.push_back(timeline_.now());
      return true;
    });
  }
}

void DebtChecker::pay(DiskDebts& debts) {
  std::vector<Micros>& left = debts.left;
  if (left.empty()) {
    if (!debts.leaving.empty()) debts.leaving.pop_back();
  } else {
    left.erase(left.begin());
  }
}

void DebtChecker::judge_left(std::uint64_t id, const Link& link, const AskedRequest& request) {
  const auto debts = disks_.find(link.disk);
  if (debts == disks_.end() || !link.newcomer || debts->second.left.empty()) return;
  const Micros since = debts->second.left.front();
  const auto asks = [&](const auto& each) { return each.second.disk == link.disk && each.second.flushes > 0; };
  if (request.sent_at <= since || std::ranges::any_of(links_, asks)) return;
  complaints_.complain("debts", "connection " + std::to_string(id) + " of disk " + std::to_string(link.disk) +
                                    ": its FLUSH has succeeded, and " + std::to_string(debts->second.left.size()) +
                                    " connection(s) have gone, the first seen at " + std::to_string(since) +
                                    " us, without being told of what was lost; nobody was told instead");
}

void DebtChecker::on_reply(const AskedRequest& request, std::uint32_t error) {
  const auto found = links_.find(request.link);
  if (request.command != NbdCommand::flush || found == links_.end()) return;
  Link& link = found->second;
  if (link.flushes > 0) --link.flushes;
  if (error == kIoError) {
    link.newcomer = false;
    if (const auto debts = disks_.find(link.disk); debts != disks_.end()) pay(debts->second);
    if (!link.debts.empty()) ++paid_;
    link.debts.clear();
    link.told_at = timeline_.now();
    return;
  }
  if (error != 0) return;
  judge_left(request.link, link, request);
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
