#include "tests/sim/checkers/ghost_checker.hpp"

#include <algorithm>
#include <string>

namespace nbdgw::sim {
namespace {

std::string command_name(std::uint32_t session, std::uint32_t cmd_sn) {
  return "session " + std::to_string(session) + ", CmdSN " + std::to_string(cmd_sn);
}

}  // namespace

std::vector<GhostChecker::Order>& GhostChecker::newest_on(const Medium& medium) {
  std::vector<Order>& newest = newest_[&medium];
  if (newest.size() < medium.blocks()) newest.resize(medium.blocks());
  return newest;
}

void GhostChecker::on_writer(const CommandTable& table, const TargetCommand& command) {
  const CommandRecord& record = table.records()[command.origin.record];
  look_for_company(table, command, record);
  check(*command.medium, record.lba, record.blocks, command.origin, "comes");
}

void GhostChecker::look_for_company(const CommandTable& table, const TargetCommand& command,
                                    const CommandRecord& record) {
  for (const TargetCommand* other = table.first(); other != nullptr; other = other->behind) {
    if (other == &command || other->medium != command.medium || other->early) continue;
    if (other->detached && other->state == TargetCommand::State::collecting) continue;
    const CommandRecord& its = table.records()[other->origin.record];
    if (!its.may_write || its.lba >= record.lba + record.blocks || record.lba >= its.lba + its.blocks) continue;
    complaints_.complain("ghosts", command_name(record.session, record.cmd_sn) + ", writes blocks " +
                                       std::to_string(record.lba) + " to " +
                                       std::to_string(record.lba + record.blocks) + ", while " +
                                       command_name(its.session, its.cmd_sn) + " (" + to_string(its.fate) +
                                       ") may yet write blocks " + std::to_string(its.lba) + " to " +
                                       std::to_string(its.lba + its.blocks) + ": there was no proof");
    return;
  }
}

void GhostChecker::on_write(const WriteEvent& event) {
  check(event.medium, event.lba, event.blocks, event.origin, "takes effect");
}

void GhostChecker::check(const Medium& medium, std::uint64_t lba, std::uint64_t blocks, const Origin& origin,
                         const char* what) {
  std::vector<Order>& newest = newest_on(medium);
  const Order order = order_of(origin);
  const std::uint64_t end = std::min<std::uint64_t>(lba + blocks, newest.size());
  for (std::uint64_t block = lba; block < end; ++block) {
    Order& last = newest[block];
    if (last == order) continue;
    if (is_earlier(order, last)) {
      return complaints_.complain("ghosts", command_name(order.session, order.cmd_sn) + " " + what + " at block " +
                                                std::to_string(block) + " (" + to_string(origin.fate) + ") behind " +
                                                command_name(last.session, last.cmd_sn) + ", which was sent later");
    }
    last = order;
  }
}

}  // namespace nbdgw::sim
