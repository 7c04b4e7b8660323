#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace nbdgw::proto {

/// CRC32C (Castagnoli), the digest of iSCSI (RFC 7143 section 13.1, test vectors in RFC 3720 B.4). Goes on from
/// `crc`, the value returned for the bytes before, or 0 at the start.
std::uint32_t crc32c(std::uint32_t crc, const void* data, std::size_t length) noexcept;

/// The same over a scatter list.
std::uint32_t crc32c(std::uint32_t crc, std::span<const iovec> list) noexcept;

/// The table-driven version for machines that the library does not serve; also the reference in the tests.
std::uint32_t crc32c_portable(std::uint32_t crc, const void* data, std::size_t length) noexcept;

}  // namespace nbdgw::proto
