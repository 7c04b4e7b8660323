#include <algorithm>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/server.hpp"

/// What happens to the logical units themselves, whoever is logged in.
namespace nbdgw::iscsi_target {

namespace asc = proto::scsi::asc;

void Server::protect(std::uint32_t lun, bool on) {
  for (TargetNode& target : targets_) {
    for (LogicalUnit& unit : target.units) {
      if (unit.number() != lun || unit.is_protected() == on) continue;
      unit.set_protected(on);
      for (const auto& [tsih, session] : sessions_)
        if (session->identity().target == &target) session->establish_attention(unit, asc::kModeParametersChanged);
    }
  }
}

void Server::lose_power(proto::scsi::AdditionalSense code, bool drop) {
  power_loss_ = code;
  told_.clear();
  for (const auto& [tsih, session] : sessions_) session->abort_task_set(nullptr);
  for (const TargetNode& target : targets_)
    for (const LogicalUnit& unit : target.units) unit.medium().lose_unflushed();
  if (drop) {
    for (Connection* connection : connections_) connection->reset("the target has lost its power");
    std::vector<Session*> sessions;
    for (const auto& [tsih, session] : sessions_) sessions.push_back(session.get());
    for (Session* session : sessions) session->close({});
    return;
  }
  for (const auto& [tsih, session] : sessions_) {
    if (session->is_discovery()) continue;
    for (const LogicalUnit& unit : session->identity().target->units) session->establish_attention(unit, code);
  }
}

void Server::pose_as(std::uint32_t lun, const std::string& serial, std::optional<proto::scsi::AdditionalSense> code) {
  for (TargetNode& target : targets_) {
    for (LogicalUnit& unit : target.units) {
      if (unit.number() != lun || unit.posing_as() == serial) continue;
      unit.pose_as(serial);
      for (const auto& [tsih, session] : sessions_)
        if (code && session->identity().target == &target) session->establish_attention(unit, *code);
    }
  }
}

void Server::tell_blocks(std::uint32_t lun, std::uint64_t blocks, std::optional<proto::scsi::AdditionalSense> code) {
  for (TargetNode& target : targets_) {
    for (LogicalUnit& unit : target.units) {
      if (unit.number() != lun || unit.told_instead() == blocks) continue;
      unit.tell_blocks(blocks);
      for (const auto& [tsih, session] : sessions_)
        if (code && session->identity().target == &target) session->establish_attention(unit, *code);
    }
  }
}

void Server::count_in_16_bits(std::uint32_t lun, bool on) {
  for (TargetNode& target : targets_)
    for (LogicalUnit& unit : target.units)
      if (unit.number() == lun) unit.set_counts_in_16_bits(on);
}

std::optional<proto::scsi::AdditionalSense> Server::first_attention(const SessionIdentity& nexus,
                                                                    const LogicalUnit& unit) const {
  const bool told = std::any_of(told_.begin(), told_.end(),
                                [&](const auto& each) { return each.second == &unit && each.first == nexus; });
  if (power_loss_ && !told) return power_loss_;
  return quiet_ ? std::nullopt : std::optional(asc::kPowerOnOrReset);
}

void Server::on_attention_told(const SessionIdentity& nexus, const LogicalUnit& unit,
                               proto::scsi::AdditionalSense code) {
  if (code != power_loss_ || first_attention(nexus, unit) != code) return;
  if (told_.size() >= kMaxTold) told_.erase(told_.begin());
  told_.emplace_back(nexus, &unit);
}

}  // namespace nbdgw::iscsi_target
