#pragma once

#include "gateway/bridge/failures.hpp"
#include "gateway/bridge/request.hpp"
#include "gateway/device/disposition.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "proto/nbd/constants.hpp"

namespace nbdgw::bridge {

/// The NBD error for a command that failed for good (NBD protocol, "Error values").
proto::nbd::Error to_nbd(device::Error error) noexcept;

/// The LUN does not know this command at all (INVALID COMMAND OPERATION CODE), as against refusing something in it.
bool unknown_command(const initiator::ScsiCommand& command) noexcept;

/// INVALID FIELD IN CDB: usually about something in a command that is known.
bool invalid_field(const initiator::ScsiCommand& command) noexcept;

/// A few words on why, for the client's log; the memory is static.
const char* explain_briefly(const initiator::ScsiCommand& command, device::Error error) noexcept;

/// Notes a command that came back, and has failed for good, with the failure of its request.
void add_command(const DiskCommand& command, RequestFailure& failure) noexcept;

/// Whether a SYNCHRONIZE CACHE that failed for good may have cost what it should have brought to stable storage: the
/// LUN has tried, and says that it could not. It has not tried where it has refused the command, was busy or not
/// ready, or where there is no status: then all is where it was.
bool may_have_lost_cache(const initiator::ScsiCommand& synchronize) noexcept;

}  // namespace nbdgw::bridge
