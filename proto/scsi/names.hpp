#pragma once

#include <cstdint>
#include <string>

#include "proto/scsi/constants.hpp"

/// Names for metrics and the admin API. What logs say of a status and of sense is in sense.hpp.
namespace nbdgw::proto::scsi {

/// As the standards write it, "WRITE(16)"; "other" for what Opcode does not have.
const char* to_string(Opcode opcode) noexcept;

/// The same of any byte 0 of a CDB, and "0x12" where there is no name.
std::string opcode_text(std::uint8_t opcode);

/// "task_set_full"; "other" for what SAM-5 does not know.
const char* to_string(Status status) noexcept;

/// "medium_error"; "other" for the key that SPC-5 reserves.
const char* to_string(SenseKey key) noexcept;

}  // namespace nbdgw::proto::scsi
