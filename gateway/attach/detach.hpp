#pragma once

#include <cstdint>
#include <string>

#include "gateway/attach/block_device.hpp"
#include "gateway/attach/link_watch.hpp"
#include "gateway/attach/nbd_control.hpp"
#include "proto/time.hpp"

namespace nbdgw::attach {

/// A kernel that cannot send to its connection is given this long before the connection is cut.
inline constexpr proto::Micros kCutAfter = 3 * proto::kSecond;

/// Detaches the device: what is still in flight fails. It takes no longer than `limit`, whatever the gateway does: a
/// connection that takes nothing is cut, if `link` has it. Returns what is wrong, for people; empty: it is done.
std::string detach(NbdControl& control, const BlockDevice& device, const LinkWatch& link, proto::Micros limit);

/// Whether a filesystem, or somebody else who wants it alone, has the device open.
bool is_claimed(const BlockDevice& device);

}  // namespace nbdgw::attach
