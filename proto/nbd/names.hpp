#pragma once

#include "proto/nbd/constants.hpp"

/// Names for logs, metrics and the admin API.
namespace nbdgw::proto::nbd {

/// "write_zeroes"; "other" for what the protocol does not know.
const char* to_string(Command command) noexcept;

/// As the protocol document writes it, "NBD_EIO"; "NBD_SUCCESS" for none, "other" for what it does not know.
const char* to_string(Error error) noexcept;

}  // namespace nbdgw::proto::nbd
