#pragma once

#include "gateway/device/disposition.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "proto/nbd/constants.hpp"

namespace nbdgw::bridge {

/// The NBD error for a command that failed for good (reference nbd-server.md 7.2).
proto::nbd::Error to_nbd(device::Error error) noexcept;

/// The LUN does not know this command at all (INVALID COMMAND OPERATION CODE), as against refusing something in it.
bool unknown_command(const initiator::ScsiCommand& command) noexcept;

/// A few words on why, for the client's log; the memory is static.
const char* explain_briefly(const initiator::ScsiCommand& command, device::Error error) noexcept;

}  // namespace nbdgw::bridge
