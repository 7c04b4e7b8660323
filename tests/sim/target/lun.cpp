#include "tests/sim/target/lun.hpp"

#include <algorithm>
#include <utility>

namespace nbdgw::sim {
namespace {

using scsi::Sense;

Completion ended_with(const Sense& sense) noexcept {
  return {scsi::kCheckCondition, sense};
}

/// Whether it tells that another disk may be there.
bool tells_of_change(const Sense& sense) noexcept {
  if (sense.key == 5) return sense.asc == 0x25;
  if (sense.key != 6) return false;
  return sense.asc == 0x28 || sense.asc == 0x29 || (sense.asc == 0x3f && (sense.ascq == 3 || sense.ascq == 0x0e));
}

}  // namespace

void LogicalUnit::map(Medium* medium) noexcept {
  medium_ = medium;
  ++change_;
}

void LogicalUnit::power_lost(Micros now, bool plain) {
  ++power_losses_;
  power_lost_at_ = now;
  if (untold_from_ < 0) untold_from_ = now;
  power_on_ = plain ? scsi::kPowerOnOrReset : scsi::kPowerOn;
  raise(power_on_);
}

void LogicalUnit::on_logout(std::uint32_t session) {
  if (const Nexus* const nexus = find(session)) initiator(nexus->initiator).logged_out = nexuses_.size() == 1;
}

void LogicalUnit::on_own_reset(std::uint32_t session, bool this_one) {
  Nexus* const nexus = find(session);
  if (nexus == nullptr) return;
  if (this_one) nexus->reset_quiet = remade_ == Remade::no;
  if (!initiator(nexus->initiator).knows_quiet_resets) nexus->ambiguous = true;
}

/// Blocks are asked for: the initiator has looked at what there was to be told.
void LogicalUnit::on_use(std::uint32_t session) {
  Nexus* const nexus = find(session);
  if (nexus == nullptr) return;
  if (remade_ == Remade::just_now) remade_ = Remade::used_since;
  if (std::exchange(nexus->reset_quiet, false)) initiator(nexus->initiator).knows_quiet_resets = true;
  // An initiator that was never told who it is takes any disk for the right one.
  if (nexus->named && medium_ == home_) used_ = true;
  if (nexus->used) return;
  nexus->used = true;
  if (nexus->after_logout && !nexus->told && !nexus->ambiguous) initiator(nexus->initiator).knows_silence = true;
}

bool LogicalUnit::cure(std::uint8_t by) noexcept {
  if (cure_ == kHangsNot || cure_ > by) return false;
  cure_ = kHangsNot;
  return true;
}

LogicalUnit::Nexus* LogicalUnit::find(std::uint32_t session) noexcept {
  const auto found = std::ranges::find(nexuses_, session, &Nexus::session);
  return found == nexuses_.end() ? nullptr : &*found;
}

LogicalUnit::Initiator& LogicalUnit::initiator(const std::string& name) {
  const auto found = std::ranges::find(initiators_, name, &Initiator::name);
  if (found != initiators_.end()) return *found;
  initiators_.push_back({.name = name, .knows_power_loss = power_losses_});
  return initiators_.back();
}

void LogicalUnit::on_login(std::uint32_t session, const std::string& name, std::uint32_t first_cmd_sn,
                           bool attention) {
  if (remade_ == Remade::used_since) remade_ = Remade::no;
  Nexus nexus{session, name, {}, change_, first_cmd_sn};
  nexus.ambiguous = attention;
  nexus.after_logout = std::exchange(initiator(name).logged_out, false);
  nexuses_.push_back(std::move(nexus));
  if (attention) nexuses_.back().attentions.push_back(scsi::kPowerOnOrReset);
  // A power loss is told until an initiator is known to have heard of it, for it may have logged in since.
  if (initiator(name).knows_power_loss != power_losses_) nexuses_.back().attentions.push_back(power_on_);
}

void LogicalUnit::on_session_end(std::uint32_t session) {
  std::erase_if(nexuses_, [session](const Nexus& nexus) { return nexus.session == session; });
}

void LogicalUnit::raise(const Sense& attention, std::uint32_t except) {
  for (Nexus& nexus : nexuses_) {
    if (nexus.session == except || std::ranges::count(nexus.attentions, attention) > 0) continue;
    nexus.attentions.push_back(attention);
  }
}

void LogicalUnit::acknowledged(const News& news, std::uint32_t session, std::uint32_t cmd_sn) {
  Nexus* nexus = find(session);
  if (nexus == nullptr) return;
  if (nexus->known_change != news.change) {
    nexus->known_change = news.change;
    nexus->known_from = cmd_sn;
  }
  if (news.power_loss == 0) return;
  initiator(nexus->initiator).knows_power_loss = news.power_loss;
  if (news.power_loss == power_losses_) untold_from_ = -1;
}

bool LogicalUnit::warned(std::uint32_t session, std::uint32_t cmd_sn) const noexcept {
  const auto found = std::ranges::find(nexuses_, session, &Nexus::session);
  if (found == nexuses_.end()) return true;
  return found->known_change == change_ && !comes_before(cmd_sn, found->known_from);
}

bool LogicalUnit::knows(std::uint32_t session, std::uint32_t change) const noexcept {
  const auto found = std::ranges::find(nexuses_, session, &Nexus::session);
  return found != nexuses_.end() && found->known_change >= change;
}

std::optional<Completion> LogicalUnit::refuse(const TargetCommand& command, AccessState access) {
  if (scsi::always_answered(command.cdb[0])) return std::nullopt;
  if (medium_ == nullptr) return ended_with(scsi::kNoSuchUnit);
  Nexus* nexus = find(command.origin.session);
  if (nexus != nullptr && !nexus->attentions.empty()) {
    const Sense attention = nexus->attentions.front();
    nexus->attentions.erase(nexus->attentions.begin());
    nexus->told = true;
    nexus->reset_quiet = false;
    return ended_with(attention);
  }
  switch (access) {
    case AccessState::active:
      break;
    case AccessState::standby:
      return ended_with({2, 0x04, 0x0b});
    case AccessState::unavailable:
      return ended_with({2, 0x04, 0x0c});
    case AccessState::transitioning:
      return ended_with({2, 0x04, 0x0a});
  }
  if (command.block.kind != scsi::BlockCommand::Kind::none) on_use(command.origin.session);
  if (write_protected_ && command.block.writes()) return ended_with(scsi::kWriteProtected);
  return std::nullopt;
}

/// Whether an attention that may come of a login or reset, too, can come of nothing but a loss of power there, and
/// the initiator can know that: it has met neither, or knows from a login of its own, after a logout, and from a
/// reset of its own, that they are silent here.
bool LogicalUnit::tells_for_sure(std::uint32_t session) const noexcept {
  const auto nexus = std::ranges::find(nexuses_, session, &Nexus::session);
  if (nexus == nexuses_.end() || nexus->ambiguous) return false;
  const auto sender = std::ranges::find(initiators_, nexus->initiator, &Initiator::name);
  return nexus->used || (sender != initiators_.end() && sender->knows_silence);
}

News LogicalUnit::news_of(const TargetCommand& command, const Completion& completion) noexcept {
  if (completion.status == scsi::kCheckCondition && tells_of_change(completion.sense)) {
    News news{.unit = this, .change = change_};
    if (power_losses_ == 0 || completion.sense != power_on_) return news;
    news.power_loss = power_losses_;
    if (power_on_ == scsi::kPowerOnOrReset && !tells_for_sure(command.origin.session)) {
      untold_from_ = power_lost_at_;  // those before may be taken for explained
      return news;
    }
    news.lost = home_;
    news.lost_at = power_lost_at_;
    news.lost_from = untold_from_ < 0 ? power_lost_at_ : untold_from_;
    return news;
  }
  const bool identity = command.cdb[0] == scsi::kInquiry && (command.cdb[1] & 1) != 0 &&
                        (command.cdb[2] == 0x80 || command.cdb[2] == 0x83);
  if (identity && completion.status == scsi::kGood) {
    return {.unit = this, .change = change_};
  }
  return {};
}

LogicalUnit* UnitMap::find(std::uint64_t field) const noexcept {
  const std::uint64_t method = field >> 62;
  if (method > 1 || (field & 0xffffffffffff) != 0) return nullptr;
  const std::uint64_t number = method == 0 ? field >> 48 : (field >> 48) & 0x3fff;
  if (method == 0 && number > 0xff) return nullptr;  // another bus
  for (const auto& unit : units_) {
    if (unit->number() == number) return unit.get();
  }
  return nullptr;
}

Reply UnitMap::answer_without_unit(const TargetCommand& command) {
  reply_.clear();
  std::size_t allocated = 0;
  if (command.cdb[0] == scsi::kReportLuns) {
    allocated = be32(&command.cdb[6]);
    reply_.append_zeroes(8);
    for (const auto& unit : units_) {
      if (unit->medium() == nullptr) continue;
      const std::uint64_t number = unit->number();
      put_be64(reply_.grow(8), number < 256 ? number << 48 : (0x4000 | number) << 48);
    }
    put_be32(reply_.data(), static_cast<std::uint32_t>(reply_.size() - 8));
  } else if (command.cdb[0] == scsi::kInquiry && (command.cdb[1] & 1) == 0) {
    allocated = be16(&command.cdb[3]);
    reply_.append_zeroes(36);
    reply_.data()[0] = 0x7f;  // not there, and of no type
    reply_.data()[2] = 6;
    reply_.data()[3] = 2;
    reply_.data()[4] = 31;
  } else if (command.cdb[0] == scsi::kRequestSense) {
    allocated = command.cdb[4];
    reply_.append_zeroes(18);
    reply_.data()[0] = 0x70;
    reply_.data()[2] = scsi::kNoSuchUnit.key;
    reply_.data()[7] = 10;
    reply_.data()[12] = scsi::kNoSuchUnit.asc;
  } else {
    return {scsi::kCheckCondition, scsi::kNoSuchUnit, {}};
  }
  return {.data = reply_.view().first(std::min(allocated, reply_.size()))};
}

}  // namespace nbdgw::sim
