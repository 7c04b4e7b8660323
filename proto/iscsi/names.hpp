#pragma once

#include "proto/iscsi/constants.hpp"

/// Names for logs, metrics and the admin API.
namespace nbdgw::proto::iscsi {

/// "scsi_response"; "other" for what RFC 7143 does not know.
const char* to_string(Opcode opcode) noexcept;

}  // namespace nbdgw::proto::iscsi
