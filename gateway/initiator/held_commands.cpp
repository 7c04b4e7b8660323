#include "gateway/initiator/held_commands.hpp"

#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {

void note_left(std::vector<LeftWrites>& list, LeftWrites left) {
  const auto known =
      std::ranges::find_if(list, [&](const LeftWrites& each) { return same_group(each.group, left.group); });
  if (known == list.end()) return list.push_back(std::move(left));
  known->acknowledged = known->acknowledged && left.acknowledged;
}

void HeldCommands::hold(ScsiCommand& command, const PortalGroup& group, const Known& known, proto::Micros now) {
  const auto found = std::find_if(groups_.begin(), groups_.end(),
                                  [&](const PortalGroup& other) { return same_group(other, group); });
  const auto index = static_cast<std::size_t>(found - groups_.begin());
  if (found == groups_.end()) groups_.push_back(group);
  command.held_since = now;
  held_.push_back({.command = &command,
                   .group = index,
                   .acknowledged = known.acknowledged,
                   .all_data_sent = known.all_data_sent});
}

void HeldCommands::hold_legacy(ScsiCommand& command, const LeftWrites* left) {
  const Known known{.acknowledged = left == nullptr || left->acknowledged, .all_data_sent = true};
  hold(command, left == nullptr ? session_.group() : left->group, known, session_.turned_at());
  held_.back().legacy = true;
  held_.back().anywhere = left == nullptr;
  ++legacies_;
}

void HeldCommands::look_at_legacies() {
  std::string text;
  on_session_up(session_.group(), text);
}

bool HeldCommands::holds_up(std::uint64_t lun) const noexcept {
  return std::ranges::any_of(
      held_, [lun](const Held& held) { return (held.legacy || held.awaits_reset) && held.command->lun == lun; });
}

std::vector<std::uint64_t> HeldCommands::luns() const {
  std::vector<std::uint64_t> luns;
  for (const Held& held : held_) luns.push_back(held.command->lun);
  return luns;
}

void HeldCommands::list(std::uint64_t lun, std::vector<LeftWrites>& left) const {
  for (const Held& held : held_) {
    if (held.command->lun == lun && !held.anywhere)
      note_left(left, {.group = groups_[held.group], .acknowledged = held.acknowledged});
  }
}

/// What the end of its session proves of the command; nothing: it needs a reset beside, through any group.
std::optional<Proof> HeldCommands::proof_of_reinstatement(Held& held) const noexcept {
  const std::int32_t group = groups_[held.group].number();
  if (!held.all_data_sent) return Proof(Proof::Kind::reinstated, group);
  if (session_.settings().after_reinstatement == AfterReinstatement::trust || NBDGW_MUTANT(relogin_proves_all)) {
    return Proof(Proof::Kind::reinstated_trusted, group);
  }
  // From now on nothing of it can enter any more, for its session is no more: what is left of it is inside SCSI,
  // where a reset through any group finds it.
  held.reinstated = held.acknowledged = held.awaits_reset = true;
  return std::nullopt;
}

/// What a login into `group` proves of the command; nothing: what it needs beside the login is noted in it.
std::optional<Proof> HeldCommands::proof_of_login(Held& held, const PortalGroup& group) const noexcept {
  if (held.anywhere || same_group(groups_[held.group], group)) return proof_of_reinstatement(held);
  if (session_.settings().other_group == OtherGroup::trust || NBDGW_MUTANT(other_group_trusted))
    return Proof(Proof::Kind::elsewhere_trusted, group.number());
  // What the old controller has not acknowledged may still lie in its socket, and would enter after the reset.
  held.awaits_reset = held.acknowledged || NBDGW_MUTANT(unacknowledged_reset_elsewhere);
  return std::nullopt;
}

/// Hands back those for which `proven(held)` gives a proof.
template <typename Proven>
std::uint32_t HeldCommands::hand_back(Proven proven, std::string& text) {
  std::uint32_t count = 0;
  std::uint32_t told = 0;  // kinds of proofs
  std::erase_if(held_, [&](Held& held) {
    const std::optional<Proof> proof = proven(held);
    if (!proof) return false;
    const std::uint32_t kind = 1U << static_cast<unsigned>(proof->kind());
    if ((told & kind) == 0) text += (text.empty() ? "" : "; ") + proof->text();
    told |= kind;
    ++count;
    ScsiCommand& command = *held.command;
    command.held_since = ScsiCommand::kNotHeld;
    command.outcome = Outcome::transport_disrupted;
    command.proof = proof;
    session_.done(command);
    return true;
  });
  awaiting_ = static_cast<std::size_t>(
      std::count_if(held_.begin(), held_.end(), [](const Held& held) { return held.awaits_reset; }));
  legacies_ = static_cast<std::size_t>(std::ranges::count_if(held_, &Held::legacy));
  if (held_.empty()) groups_.clear();
  return count;
}

std::uint32_t HeldCommands::on_session_up(const PortalGroup& group, std::string& text) {
  return hand_back([&](Held& held) { return proof_of_login(held, group); }, text);
}

void HeldCommands::on_session_lost() noexcept {
  for (Held& held : held_) held.awaits_reset = false;
  awaiting_ = 0;
}

bool HeldCommands::awaits_reset(std::uint64_t lun) const noexcept {
  return awaiting_ > 0 && std::any_of(held_.begin(), held_.end(), [&](const Held& held) {
           return held.awaits_reset && held.command->lun == lun;
         });
}

std::optional<std::uint64_t> HeldCommands::next_reset() const {
  if (awaiting_ == 0) return std::nullopt;
  struct Unit {
    std::uint64_t lun;
    proto::Micros oldest;
  };
  std::vector<Unit> units;
  for (const Held& held : held_) {
    if (!held.awaits_reset) continue;
    const ScsiCommand& command = *held.command;
    const auto known = std::ranges::find(units, command.lun, &Unit::lun);
    if (known == units.end()) {
      units.push_back({command.lun, command.started_at});
    } else {
      known->oldest = std::min(known->oldest, command.started_at);
    }
  }
  return std::ranges::max_element(units, {}, &Unit::oldest)->lun;
}

std::uint32_t HeldCommands::on_reset(std::uint64_t lun, proto::iscsi::TaskManagementFunction function,
                                     std::string& text) {
  const std::int32_t group = session_.group().number();
  const auto proven = [&](const Held& held) -> std::optional<Proof> {
    const bool covered = lun == RecoveryEvent::kNoLun || held.command->lun == lun || NBDGW_MUTANT(one_reset_for_all);
    if (!held.awaits_reset || !covered) return std::nullopt;
    return Proof(held.reinstated ? Proof::Kind::reinstated_and_reset : Proof::Kind::reset_elsewhere, group, function);
  };
  return awaiting_ > 0 ? hand_back(proven, text) : 0;
}

proto::Micros HeldCommands::errand_due() const noexcept {
  if (on_errand_ || count_elsewhere() == 0 || NBDGW_MUTANT(no_errand)) return proto::kNever;
  // Without the tag nobody could tell whether it leads there, or replaces the session that is there now.
  return elsewhere().tag && session_.group().tag ? errand_at_ : proto::kNever;
}

std::optional<PortalGroup> HeldCommands::take_errand(proto::Micros now) {
  if (errand_due() > now) return std::nullopt;
  on_errand_ = true;
  return elsewhere();
}

std::uint32_t HeldCommands::on_reinstated(const PortalGroup& group, std::string& text) {
  return hand_back(
      [&](Held& held) -> std::optional<Proof> {
        if (!same_group(groups_[held.group], group) || held.reinstated) return std::nullopt;
        return proof_of_reinstatement(held);
      },
      text);
}

void HeldCommands::errand_over(bool good, proto::Micros now) noexcept {
  on_errand_ = false;
  errand_pause_ = good ? kFirstErrand : std::min(2 * errand_pause_, kErrandPause);
  errand_at_ = now + errand_pause_;
}

void HeldCommands::give_up() {
  for (const Held& held : held_) {
    held.command->held_since = ScsiCommand::kNotHeld;
    held.command->outcome = Outcome::path_lost;
    session_.done(*held.command);
  }
  held_.clear();
  groups_.clear();
  awaiting_ = legacies_ = 0;
}

const PortalGroup& HeldCommands::elsewhere() const noexcept {
  const auto found = std::find_if(held_.begin(), held_.end(), [](const Held& held) { return !held.awaits_reset; });
  NBDGW_ASSERT(found != held_.end(), "asked only when there is one");
  return groups_[found->group];
}

}  // namespace nbdgw::initiator
