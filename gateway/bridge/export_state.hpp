#pragma once

#include <cstdint>
#include <string>

namespace nbdgw::bridge {

enum class ExportState : std::uint8_t {
  offline,  // no session, or the probe failed and will be repeated: requests are held
  probing,  // the LUN is being looked at, after each login and after some unit attentions: requests are held
  online,
  refused,  // the LUN is there but must not be used: another disk, or of a size that cannot be served. Requests fail.
};

const char* to_string(ExportState state) noexcept;

/// For the shell, the logs and the admin API.
struct ExportStatus {
  ExportState state = ExportState::offline;
  std::string reason;  // offline, refused: why, for people
  bool known = false;  // has been online once: info() is valid
};

}  // namespace nbdgw::bridge
