#include "gateway/shard/session_export.hpp"

namespace nbdgw::shard {

SessionExport::SessionExport(bridge::ExportConfig config, bridge::Shares& shares, SessionDriver& driver,
                             bridge::DiskDirectory* disks, proto::Micros now)
    : name_(config.name), driver_(driver), export_(std::move(config), shares, driver.session(), disks, now) {}

nbd::Backend* SessionExport::backend() noexcept {
  const bool usable = export_.known() && export_.state() != bridge::ExportState::refused;
  return usable ? &export_ : nullptr;
}

std::string SessionExport::waiting_reason() const {
  const initiator::Session& session = driver_.session();
  std::string reason = "export " + name_ + " is not available: ";
  if (!session.trouble().empty()) {
    return reason + "no session to target " + session.settings().label + ": " + session.trouble();
  }
  const std::string why = export_.status().reason;
  if (!why.empty()) return reason + why;
  return reason + "target " + session.settings().label + " is " + to_string(session.state());
}

}  // namespace nbdgw::shard
