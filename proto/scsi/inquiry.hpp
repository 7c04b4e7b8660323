#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proto/scsi/constants.hpp"

/// INQUIRY data and the vital product data pages that the gateway reads. parse() answers nothing if the data is too
/// short to mean anything, or is another page; fields that the data is too short for are left at their defaults (old
/// devices send short pages). build() makes the whole page; whoever sends it cuts it at the allocation length.
namespace nbdgw::proto::scsi {

/// Standard INQUIRY data (SPC-5 6.7.2).
struct StandardInquiry {
  static constexpr std::size_t kMinLength = 36;

  std::uint8_t qualifier = peripheral::kConnected;
  std::uint8_t device_type = peripheral::kDirectAccess;
  bool removable = false;
  std::uint8_t version = 0x06;    // 6 = SPC-4
  bool command_queuing = true;    // CMDQUE
  bool third_party_copy = false;  // 3PC
  std::string vendor;             // 8 characters at most, blanks at the end removed
  std::string product;            // 16
  std::string revision;           // 4

  /// Needs the first five bytes only.
  static std::optional<StandardInquiry> parse(std::span<const std::uint8_t> data);
  std::vector<std::uint8_t> build() const;
};

/// Page 00h: the pages there are (SPC-5 7.7.16).
struct SupportedPages {
  std::array<bool, 256> supported{};

  bool has(std::uint8_t page) const noexcept { return supported[page]; }
  static std::optional<SupportedPages> parse(std::span<const std::uint8_t> data) noexcept;
  std::vector<std::uint8_t> build() const;
};

/// Page 80h: the serial number (SPC-5 7.7.19), blanks on both sides removed.
struct UnitSerialNumber {
  std::string serial;

  static std::optional<UnitSerialNumber> parse(std::span<const std::uint8_t> data);
  std::vector<std::uint8_t> build() const;
};

/// What a designator is about (SPC-5 7.7.6.1).
enum class Association : std::uint8_t { logical_unit = 0, target_port = 1, target_device = 2 };

enum class DesignatorType : std::uint8_t {
  vendor_specific = 0,
  t10_vendor_id = 1,
  eui_64 = 2,
  naa = 3,
  relative_target_port = 4,
  target_port_group = 5,
  logical_unit_group = 6,
  md5 = 7,
  scsi_name = 8,
};

struct Designator {
  DesignatorType type = DesignatorType::vendor_specific;
  Association association = Association::logical_unit;
  std::uint8_t code_set = 1;        // 1 binary, 2 ASCII, 3 UTF-8
  std::vector<std::uint8_t> value;  // 255 bytes at most

  /// As people write it: "naa.6001405...", "eui.0011...", "t10.VENDOR...", a SCSI name string as it is.
  std::string text() const;
};

/// Page 83h (SPC-5 7.7.6).
struct DeviceIdentification {
  /// Designators beyond this many are not looked at.
  static constexpr std::size_t kMaxDesignators = 32;

  std::vector<Designator> designators;

  static std::optional<DeviceIdentification> parse(std::span<const std::uint8_t> data);
  std::vector<std::uint8_t> build() const;

  /// The best name of the logical unit itself: NAA, else EUI-64, else SCSI name, else T10; null if there is none.
  const Designator* best() const noexcept;
};

/// Page B0h (SBC-4 6.6.4). 0 in a limit means "not reported", but see the comments.
struct BlockLimits {
  bool write_same_no_zero = false;                           // WSNZ: a WRITE SAME of 0 blocks is refused
  std::uint8_t max_compare_and_write = 0;                    // blocks; 0 = command not there
  std::uint16_t optimal_transfer_granularity = 0;            // blocks
  std::uint32_t max_transfer = 0;                            // blocks
  std::uint32_t optimal_transfer = 0;                        // blocks
  std::uint32_t max_prefetch = 0;                            // blocks
  std::uint32_t max_unmap_lba_count = 0;                     // blocks of one UNMAP; 0 = UNMAP not there
  std::uint32_t max_unmap_descriptor_count = 0;              // of one UNMAP; 0 = UNMAP not there
  std::uint32_t optimal_unmap_granularity = 0;               // blocks
  std::optional<std::uint32_t> unmap_granularity_alignment;  // blocks; only with UGAVALID
  std::uint64_t max_write_same = 0;                          // blocks

  /// The whole page, or the 16 bytes of SBC-2 without what came later.
  static std::optional<BlockLimits> parse(std::span<const std::uint8_t> data) noexcept;
  std::vector<std::uint8_t> build() const;
};

/// Page B1h (SBC-4 6.6.2).
struct BlockDeviceCharacteristics {
  static constexpr std::uint16_t kRotationNotReported = 0;
  static constexpr std::uint16_t kNonRotating = 1;
  std::uint16_t rotation_rate = kRotationNotReported;  // above 0400h: turns per minute

  static std::optional<BlockDeviceCharacteristics> parse(std::span<const std::uint8_t> data) noexcept;
  std::vector<std::uint8_t> build() const;
};

/// Page B2h (SBC-4 6.6.6).
struct LogicalBlockProvisioning {
  std::uint8_t threshold_exponent = 0;
  bool lbpu = false;     // UNMAP
  bool lbpws = false;    // WRITE SAME(16) with UNMAP bit
  bool lbpws10 = false;  // WRITE SAME(10) with UNMAP bit
  std::uint8_t lbprz =
      0;  // 3 bits: unmapped blocks read as 0 = anything, xx1b = zeroes, 010b = initialization pattern
  bool anchor_supported = false;
  std::uint8_t provisioning_type = 0;  // 0 unknown, 1 resource, 2 thin

  static std::optional<LogicalBlockProvisioning> parse(std::span<const std::uint8_t> data) noexcept;
  std::vector<std::uint8_t> build() const;
};

}  // namespace nbdgw::proto::scsi
