#include <algorithm>

#include "gateway/target/connection.hpp"
#include "gateway/target/faults.hpp"
#include "gateway/target/server.hpp"

/// Faults that act when they are posted, and those that are a state of the target.
namespace nbdgw::target {

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

/// What the target is in as long as there are faults of that kind.
void Faults::refresh_states() {
  const bool frozen = std::any_of(posted_.begin(), posted_.end(), [](const Posted& each) {
    return each.active && each.fault.kind == FaultKind::freeze_window;
  });
  if (frozen != server_->window_frozen()) server_->freeze_window(frozen);
  std::vector<std::uint16_t> frozen_portals;
  for (const Posted& each : posted_)
    if (each.active && each.fault.kind == FaultKind::freeze_portal)
      frozen_portals.push_back(static_cast<std::uint16_t>(each.fault.portal));
  if (frozen_portals != server_->frozen_portals()) server_->freeze_portals(std::move(frozen_portals));
  for (const TargetNode& target : server_->targets()) {
    for (const LogicalUnit& unit : target.units) {
      const bool protect = std::any_of(posted_.begin(), posted_.end(), [&](const Posted& each) {
        return each.active && each.fault.kind == FaultKind::write_protect &&
               each.fault.lun.value_or(unit.number()) == unit.number();
      });
      if (protect != unit.is_protected()) server_->protect(unit.number(), protect);
    }
  }
}

}  // namespace nbdgw::target
