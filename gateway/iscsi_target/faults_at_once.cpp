#include <algorithm>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/faults.hpp"
#include "gateway/iscsi_target/server.hpp"

/// Faults that act when they are posted, and those that are a state of the target.
namespace nbdgw::iscsi_target {

namespace {

/// What tells that a state has begun; nothing: nobody is told.
std::optional<proto::scsi::AdditionalSense> attention_of(const Fault* fault) noexcept {
  if (fault == nullptr || fault->asc == 0) return std::nullopt;
  return proto::scsi::AdditionalSense{static_cast<std::uint8_t>(fault->asc), static_cast<std::uint8_t>(fault->ascq)};
}

}  // namespace

void Faults::act_at_once(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::drop_connection:
      return drop_connections(fault);
    case FaultKind::async_event:
      return send_async_event(fault);
    case FaultKind::power_loss:
      return server_->lose_power({static_cast<std::uint8_t>(fault.asc), static_cast<std::uint8_t>(fault.ascq)},
                                 fault.drop);
    default:
      return;
  }
}

void Faults::drop_connections(const Fault& fault) {
  for (Connection* connection : server_->connections()) {
    if (fault.cid && (connection->session() == nullptr || connection->cid() != *fault.cid)) continue;
    if (fault.half_close)
      connection->stop_sending();
    else
      connection->reset("a fault drops it");
  }
}

void Faults::send_async_event(const Fault& fault) {
  const proto::iscsi::AsyncMessage message{.event = static_cast<proto::iscsi::AsyncEvent>(fault.event),
                                           .parameter1 = static_cast<std::uint16_t>(fault.parameter1),
                                           .parameter2 = static_cast<std::uint16_t>(fault.parameter2),
                                           .parameter3 = static_cast<std::uint16_t>(fault.parameter3)};
  for (const auto& [tsih, session] : server_->sessions()) {
    Connection* connection = fault.cid ? session->find_connection(static_cast<std::uint16_t>(*fault.cid))
                             : session->connections().empty() ? nullptr
                                                              : session->connections().front();
    if (connection != nullptr) connection->send_async(message);
  }
}

/// The first that is in force for the LUN; null: none.
const Fault* Faults::state_of(FaultKind kind, std::uint32_t lun) const noexcept {
  const auto found = std::find_if(posted_.begin(), posted_.end(), [&](const Posted& each) {
    return each.active && each.fault.kind == kind && each.fault.lun.value_or(lun) == lun;
  });
  return found == posted_.end() ? nullptr : &found->fault;
}

/// What the target is in as long as there are faults of that kind.
void Faults::refresh_states() {
  const bool frozen = state_of(FaultKind::freeze_window, 0) != nullptr;
  if (frozen != server_->window_frozen()) server_->freeze_window(frozen);
  server_->set_quiet(state_of(FaultKind::quiet_login, 0) != nullptr);
  std::vector<std::uint16_t> frozen_portals;
  for (const Posted& each : posted_)
    if (each.active && each.fault.kind == FaultKind::freeze_portal)
      frozen_portals.push_back(static_cast<std::uint16_t>(each.fault.portal));
  if (frozen_portals != server_->frozen_portals()) server_->freeze_portals(std::move(frozen_portals));
  for (const TargetNode& target : server_->targets())
    for (const LogicalUnit& unit : target.units) refresh_unit(unit.number(), unit.is_protected());
}

void Faults::refresh_unit(std::uint32_t lun, bool is_protected) {
  const bool protect = state_of(FaultKind::write_protect, lun) != nullptr;
  if (protect != is_protected) server_->protect(lun, protect);
  server_->count_in_16_bits(lun, state_of(FaultKind::write_same_16, lun) != nullptr);
  const Fault* identity = state_of(FaultKind::identity, lun);
  server_->pose_as(lun, identity != nullptr ? identity->serial : "", attention_of(identity));
  const Fault* capacity = state_of(FaultKind::capacity, lun);
  server_->tell_blocks(lun, capacity != nullptr ? capacity->blocks : 0, attention_of(capacity));
}

}  // namespace nbdgw::iscsi_target
