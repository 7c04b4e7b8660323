#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gateway/nbd/backend.hpp"
#include "gateway/nbd/handshake.hpp"
#include "proto/nbd/constants.hpp"

namespace nbdgw::nbd {

/// Bytes that a connection has received and not handled, at most.
inline constexpr std::size_t kMaxUnread = proto::nbd::kOptionRequestLength + kMaxOptionLength;

/// The same with requests that were begun, and are passed on (Connection::pass_on()), of all clients of a shard.
inline constexpr std::size_t kMostPassedOn = 64 * 1024 * 1024;

/// A connection between two requests of its transmission phase: all that another process needs, beside the socket, to
/// go on with it without its client noticing (Connection::begin_handover()).
struct KeptConnection {
  ExportInfo info;          // as it was for this client
  bool structured = false;  // replies
  LossStanding standing{};  // with the export
  std::string token{};      // Attaching::token
  /// What the client has sent and is to be handled from here on: at most kMaxUnread bytes of its next requests, and
  /// before them requests that were begun and not answered, as they came. The last one may not be there whole.
  std::vector<std::uint8_t> unread;
};

/// Whether a client that was told `before` can live with `now`: the same disk, not smaller, and no ability less.
bool keeps_promises(const ExportInfo& now, const ExportInfo& before) noexcept;

}  // namespace nbdgw::nbd
