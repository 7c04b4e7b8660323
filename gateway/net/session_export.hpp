#pragma once

#include <string>

#include "gateway/bridge/export.hpp"
#include "gateway/net/export_slot.hpp"
#include "gateway/net/session_driver.hpp"

namespace nbdgw::net {

/// An export on the LUN of a session.
class SessionExport final : public ExportSlot {
 public:
  SessionExport(bridge::ExportConfig config, proto::BufferPool& pool, SessionDriver& driver);

  const std::string& name() const noexcept override { return name_; }
  /// There once the LUN has been seen: when it goes later, clients may attach all the same, and their requests are
  /// held.
  nbd::Backend* backend() noexcept override;
  std::string waiting_reason() const override;
  Station& station() noexcept override { return driver_; }

  bridge::Export& exported() noexcept { return export_; }
  const bridge::Export& exported() const noexcept { return export_; }
  const SessionDriver& driver() const noexcept { return driver_; }

 private:
  const std::string name_;
  SessionDriver& driver_;
  bridge::Export export_;
};

}  // namespace nbdgw::net
