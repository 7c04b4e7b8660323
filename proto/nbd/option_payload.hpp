#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nbdgw::proto::nbd {

/// Which infos an INFO or GO asks for. NBD_INFO_EXPORT always comes, and unknown ones are ignored.
struct RequestedInfos {
  bool name = false;
  bool description = false;
  bool block_size = false;
};

/// The data of NBD_OPT_INFO and NBD_OPT_GO: a name's length (32 bits), the name, a count (16 bits), so many info
/// types (16 bits each), and nothing behind.
struct InfoRequest {
  std::string_view export_name;  // points into the data
  RequestedInfos infos;
};

/// Judges a name that a client sent: at most kMaxString bytes, no NUL. Returns what is wrong with it, or null.
const char* check_export_name(std::string_view name) noexcept;

/// Reads the data of INFO or GO. Returns what is wrong with it (a sentence for the client), or null and fills `out`.
const char* parse_info_request(std::span<const std::uint8_t> data, InfoRequest& out) noexcept;

}  // namespace nbdgw::proto::nbd
