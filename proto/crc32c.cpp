#include "proto/crc32c.hpp"

#include <array>

#if defined(__x86_64__) || defined(__aarch64__)
#include <isa-l/crc.h>
#define NBDGW_HAVE_ISAL 1
#endif

namespace nbdgw::proto {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  constexpr std::uint32_t kPolynomialReflected = 0x82f63b78;
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomialReflected : 0);
    table[i] = value;
  }
  return table;
}

constexpr auto kTable = make_table();

}  // namespace

std::uint32_t crc32c_portable(std::uint32_t crc, const void* data, std::size_t length) noexcept {
  const auto* byte = static_cast<const std::uint8_t*>(data);
  crc = ~crc;
  for (std::size_t i = 0; i < length; ++i) crc = kTable[(crc ^ byte[i]) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::uint32_t crc32c(std::uint32_t crc, const void* data, std::size_t length) noexcept {
#ifdef NBDGW_HAVE_ISAL
  // The library works on the bare remainder, so the inversions of the standard are ours. Its parameter lacks a const
  // that its documentation gives.
  auto* bytes = const_cast<unsigned char*>(static_cast<const unsigned char*>(data));
  while (length > 0) {
    const int n = length > (1U << 30) ? (1 << 30) : static_cast<int>(length);
    crc = ~crc32_iscsi(bytes, n, ~crc);
    bytes += n;
    length -= static_cast<std::size_t>(n);
  }
  return crc;
#else
  return crc32c_portable(crc, data, length);
#endif
}

std::uint32_t crc32c(std::uint32_t crc, std::span<const iovec> list) noexcept {
  for (const iovec& entry : list) crc = crc32c(crc, entry.iov_base, entry.iov_len);
  return crc;
}

}  // namespace nbdgw::proto
