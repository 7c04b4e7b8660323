#pragma once

#include <cstdint>

#include "gateway/nbd/backend.hpp"
#include "proto/nbd/constants.hpp"

namespace nbdgw::nbd {

/// Longest payload that an export may offer, and that a refused WRITE may have to be read and dropped: a longer one
/// costs the connection (NBD protocol, "Size constraints": more than 32 MiB may be taken for an attack). Bytes.
inline constexpr std::uint32_t kMaxPayload = 64 * 1024 * 1024;

/// What clients that do not ask send (NBD protocol, "Block sizes"). Bytes.
inline constexpr std::uint32_t kUsualPayload = 32 * 1024 * 1024;

/// The longest READ or WRITE of this export, bytes: what is told to the client, and what is enforced for a READ that
/// is answered in one piece.
constexpr std::uint32_t max_payload(const ExportInfo& info) noexcept {
  return info.max_payload < kMaxPayload ? info.max_payload : kMaxPayload;
}

/// What a request gets at once, before the backend hears of it.
struct Validation {
  proto::nbd::Error error = proto::nbd::Error::none;
  const char* text = nullptr;  // why, for the client; static storage
};

/// Judges a request by the export and by what was negotiated (NBD protocol, "Request types", "Command flags", "Error
/// values"). DISC is not a question for this function. A request of length 0 that passes has nothing to do.
Validation validate_request(const RequestHeader& request, const ExportInfo& info, bool structured) noexcept;

}  // namespace nbdgw::nbd
