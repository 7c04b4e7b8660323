#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

/// Parameter data of READ CAPACITY(10) and (16) (SBC-4 5.20.2, 5.21.2).
namespace nbdgw::proto::scsi {

struct Capacity {
  static constexpr std::size_t kLength10 = 8;
  static constexpr std::size_t kLength16 = 32;

  std::uint64_t last_lba = 0;
  std::uint32_t block_length = 0;  // bytes
  // Only in the data of READ CAPACITY(16):
  bool protection_enabled = false;                // PROT_EN
  std::uint8_t blocks_per_physical_exponent = 0;  // 2^n logical blocks per physical block
  std::uint16_t lowest_aligned_lba = 0;           // 14 bits
  bool lbpme = false;                             // logical block provisioning management enabled
  bool lbprz = false;                             // unmapped blocks read as zeroes

  /// The 10-byte command's answer; `last_lba` is 0xffffffff if the device is larger than it can tell.
  static std::optional<Capacity> parse10(std::span<const std::uint8_t> data) noexcept;
  /// Needs the first 12 bytes; what the rest tells is optional.
  static std::optional<Capacity> parse16(std::span<const std::uint8_t> data) noexcept;
  std::vector<std::uint8_t> build10() const;
  std::vector<std::uint8_t> build16() const;
};

}  // namespace nbdgw::proto::scsi
