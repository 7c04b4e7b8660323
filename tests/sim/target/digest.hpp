#pragma once

#include <cstdint>

#include "tests/sim/target/wire_bytes.hpp"

namespace nbdgw::sim {

/// CRC32C (RFC 7143 section 13.1) of bytes; `before` is that of the bytes ahead of them.
std::uint32_t crc_of(Bytes bytes, std::uint32_t before = 0) noexcept;

/// A digest goes on the wire with its lowest byte first, as RFC 7143 appendix A shows it.
inline void put_digest(std::uint8_t* to, std::uint32_t crc) noexcept {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(crc >> (8 * i));
}
inline std::uint32_t read_digest(const std::uint8_t* from) noexcept {
  return from[0] | (std::uint32_t{from[1]} << 8) | (std::uint32_t{from[2]} << 16) | (std::uint32_t{from[3]} << 24);
}

}  // namespace nbdgw::sim
