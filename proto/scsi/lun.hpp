#pragma once

#include <cstdint>
#include <optional>

/// Logical unit numbers as people write them (0, 1, 2 ...) and as the 8 bytes of SAM-5 4.7, held as one big-endian
/// number: the way they travel in iSCSI headers and in REPORT LUNS data.
namespace nbdgw::proto::scsi {

/// The largest number that flat space addressing holds (14 bits, SAM-5 4.7.7.3).
inline constexpr std::uint32_t kMaxLunNumber = 0x3fff;

/// Peripheral device addressing below 256 (SAM-5 4.7.7.2, bus 0), flat space addressing above: what targets expect.
/// Nothing for numbers above kMaxLunNumber.
constexpr std::optional<std::uint64_t> encode_lun(std::uint32_t number) noexcept {
  if (number > kMaxLunNumber) return std::nullopt;
  const std::uint64_t first_level = number < 256 ? number : (0x4000U | number);
  return first_level << 48;
}

/// The number of a single-level LUN in either addressing; nothing for other forms (further levels, another bus,
/// well-known logical units).
constexpr std::optional<std::uint32_t> decode_lun(std::uint64_t lun) noexcept {
  if ((lun & 0x0000'ffff'ffff'ffffULL) != 0) return std::nullopt;
  const auto first_level = static_cast<std::uint32_t>(lun >> 48);
  if ((first_level >> 14) == 1) return first_level & 0x3fff;
  if (first_level < 256) return first_level;
  return std::nullopt;
}

}  // namespace nbdgw::proto::scsi
