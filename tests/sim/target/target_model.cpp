#include "tests/sim/target/target_model.hpp"

#include <algorithm>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {

void TargetOptions::have_two_luns() {
  if (luns.size() > 1) return;
  media.resize(1);
  MediumOptions second = media.front();
  second.serial += "2";
  if (second.naa != 0) second.naa += 0x800;
  if (!second.t10.empty()) second.t10 += "2";
  media.push_back(second);
  luns.push_back({.number = 1, .medium = 1});
}

Target::Target(Timeline& timeline, Random random, const TargetOptions& options)
    : array_(std::make_unique<Array>(timeline, random, options)) {}

Target::~Target() = default;

std::size_t Target::controllers() const noexcept {
  return array_->controllers.size();
}

Controller& Target::controller(std::size_t index) noexcept {
  return *array_->controllers[index];
}

std::size_t Target::media() const noexcept {
  return array_->media.size();
}

Medium& Target::medium(std::size_t index) noexcept {
  return *array_->media[index];
}

const CommandTable& Target::commands() const noexcept {
  return array_->commands;
}

void Target::heal() {
  array_->faults.heal();
  array_->mischief.heal();
  array_->executor.heal();
  array_->settle();
}

void Target::on_remade(const Medium& medium) noexcept {
  for (const auto& unit : array_->units.all()) {
    if (unit->home() == &medium) unit->on_remade();
  }
}

void Target::allow(std::string_view fault, bool yes) {
  const Fault found = find_fault(fault);
  if (found != Fault::none) array_->faults.allow(found, yes);
}

std::map<std::string, std::uint64_t> Target::faults_seen() const {
  return array_->faults.seen();
}

std::size_t Target::sessions() const noexcept {
  return array_->sessions.size();
}

TargetSession* Target::session(std::uint32_t number) const noexcept {
  const auto found =
      std::ranges::find_if(array_->sessions, [&](const auto& each) { return each->number() == number; });
  return found == array_->sessions.end() ? nullptr : found->get();
}

void Target::check_rest() {
  for (const auto& session : array_->sessions) {
    if (session->has_hole()) {
      array_->checker.complain("session " + std::to_string(session->number()) + ": CmdSN " +
                               std::to_string(session->exp_cmd_sn()) + " never came, and others wait behind it");
    }
  }
  for (const auto& connection : array_->connections) {
    if (connection->open_pings() > 0) array_->checker.complain(*connection, "a ping was never answered");
  }
  for (const TargetCommand* command = array_->commands.first(); command != nullptr; command = command->behind) {
    if (command->state != TargetCommand::State::collecting || command->connection == nullptr) continue;
    array_->checker.complain(*command->connection, "the data of the command with CmdSN " +
                                                       std::to_string(command->origin.cmd_sn) + " never came");
  }
}

}  // namespace nbdgw::sim
