#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/sim/byte_buffer.hpp"

namespace nbdgw::sim {

// Numbers and bytes as they are on the wire. Not the project's own: what is wrong there must not be wrong here, too.

inline std::uint16_t be16(const std::uint8_t* from) noexcept {
  return static_cast<std::uint16_t>((from[0] << 8) | from[1]);
}
inline std::uint32_t be24(const std::uint8_t* from) noexcept {
  return (std::uint32_t{from[0]} << 16) | (std::uint32_t{from[1]} << 8) | from[2];
}
inline std::uint32_t be32(const std::uint8_t* from) noexcept {
  return (std::uint32_t{from[0]} << 24) | be24(from + 1);
}
inline std::uint64_t be64(const std::uint8_t* from) noexcept {
  return (std::uint64_t{be32(from)} << 32) | be32(from + 4);
}

inline void put_be16(std::uint8_t* to, std::uint32_t value) noexcept {
  to[0] = static_cast<std::uint8_t>(value >> 8);
  to[1] = static_cast<std::uint8_t>(value);
}
inline void put_be24(std::uint8_t* to, std::uint32_t value) noexcept {
  to[0] = static_cast<std::uint8_t>(value >> 16);
  put_be16(to + 1, value);
}
inline void put_be32(std::uint8_t* to, std::uint32_t value) noexcept {
  put_be16(to, value >> 16);
  put_be16(to + 2, value);
}
inline void put_be64(std::uint8_t* to, std::uint64_t value) noexcept {
  put_be32(to, static_cast<std::uint32_t>(value >> 32));
  put_be32(to + 4, static_cast<std::uint32_t>(value));
}

/// Whether sequence number `a` comes before `b`, around the wrap (RFC 1982).
inline bool comes_before(std::uint32_t a, std::uint32_t b) noexcept {
  return a != b && b - a < 0x80000000U;
}

inline std::size_t padded(std::size_t length) noexcept {
  return (length + 3) & ~std::size_t{3};
}

}  // namespace nbdgw::sim
