#pragma once

#include "config/model.hpp"
#include "gateway/bridge/export.hpp"
#include "gateway/initiator/settings.hpp"

namespace nbdgw::shard {

/// SCSI tasks of the session to the target of this index: queue_depth for each of its LUNs, so that one that hangs
/// cannot take the tasks of the others, as far as a session has so many.
std::uint16_t session_tasks(const config::Config& config, std::uint32_t index) noexcept;

/// What a session to the target of this index is set up with.
initiator::SessionSettings session_settings(const config::Config& config, std::uint32_t index);

/// The LUN as on the wire (SAM-5 4.7).
std::uint64_t wire_lun(const config::Export& exported);

/// What an export is set up with.
bridge::ExportConfig export_config(const config::Config& config, const config::Export& exported);

}  // namespace nbdgw::shard
