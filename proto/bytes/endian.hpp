#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nbdgw::proto {

/// Byte order reversed, for 16, 32 and 64-bit unsigned integers.
template <std::unsigned_integral T>
constexpr T byte_swap(T value) noexcept {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

/// Reads a big-endian integer from unaligned memory. The caller has checked the bounds.
template <std::unsigned_integral T>
T load_be(const void* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (std::endian::native == std::endian::little) value = byte_swap(value);
  return value;
}

/// Writes a big-endian integer to unaligned memory. The caller has checked the bounds.
template <std::unsigned_integral T>
void store_be(void* to, T value) noexcept {
  if constexpr (std::endian::native == std::endian::little) value = byte_swap(value);
  std::memcpy(to, &value, sizeof value);
}

inline std::uint16_t load_be16(const void* p) noexcept {
  return load_be<std::uint16_t>(p);
}
inline std::uint32_t load_be32(const void* p) noexcept {
  return load_be<std::uint32_t>(p);
}
inline std::uint64_t load_be64(const void* p) noexcept {
  return load_be<std::uint64_t>(p);
}
inline void store_be16(void* p, std::uint16_t v) noexcept {
  store_be(p, v);
}
inline void store_be32(void* p, std::uint32_t v) noexcept {
  store_be(p, v);
}
inline void store_be64(void* p, std::uint64_t v) noexcept {
  store_be(p, v);
}

/// 24-bit big-endian, as in the iSCSI DataSegmentLength field (RFC 7143 section 11.2.1.5).
inline std::uint32_t load_be24(const void* p) noexcept {
  const auto* b = static_cast<const std::uint8_t*>(p);
  return (std::uint32_t{b[0]} << 16) | (std::uint32_t{b[1]} << 8) | b[2];
}
inline void store_be24(void* p, std::uint32_t v) noexcept {
  auto* b = static_cast<std::uint8_t*>(p);
  b[0] = static_cast<std::uint8_t>(v >> 16);
  b[1] = static_cast<std::uint8_t>(v >> 8);
  b[2] = static_cast<std::uint8_t>(v);
}

}  // namespace nbdgw::proto
