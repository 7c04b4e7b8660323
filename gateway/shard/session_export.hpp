#pragma once

#include <string>

#include "gateway/bridge/export.hpp"
#include "gateway/shard/export_slot.hpp"
#include "gateway/shard/session_driver.hpp"

namespace nbdgw::shard {

/// An export on the LUN of a session.
class SessionExport final : public ExportSlot {
 public:
  /// The driver does not know of it yet (SessionDriver::add_export()).
  SessionExport(bridge::ExportConfig config, bridge::Shares& shares, SessionDriver& driver,
                bridge::DiskDirectory* disks = nullptr, proto::Micros now = 0);

  const std::string& name() const noexcept override { return name_; }
  /// There once the LUN has been seen: when it goes later, clients may attach all the same, and their requests are
  /// held.
  nbd::Backend* backend() noexcept override;
  nbd::Backend* coming_backend() noexcept override { return &export_; }
  std::string waiting_reason() const override;
  Station& station() noexcept override { return driver_; }

  bridge::Export& exported() noexcept { return export_; }
  const bridge::Export& exported() const noexcept { return export_; }
  SessionDriver& driver() noexcept { return driver_; }
  const SessionDriver& driver() const noexcept { return driver_; }

  /// Since when it takes no new clients, because an operator wants it so; of the time when it does not.
  proto::Micros closed_since() const noexcept { return closed_since_; }
  void set_closed_since(proto::Micros since) noexcept { closed_since_ = since; }

  /// The gateway is ready only while this export is online.
  bool required() const noexcept { return required_; }
  void set_required(bool required) noexcept { required_ = required; }

 private:
  const std::string name_;
  SessionDriver& driver_;
  bridge::Export export_;
  bool required_ = true;
  proto::Micros closed_since_ = 0;
};

}  // namespace nbdgw::shard
