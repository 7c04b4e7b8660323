#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "proto/scsi/constants.hpp"

/// Command descriptor blocks. Each struct holds the fields of one command in host order; its build functions make the
/// whole CDB (reserved bytes zero), its parse() takes one apart. parse() answers nothing if the operation code (or
/// service action) is another one, or if the CDB is cut short; it does not judge the fields' values.
namespace nbdgw::proto::scsi {

/// A command descriptor block: `length` bytes of `bytes` count, the rest is zero.
struct Cdb {
  static constexpr std::size_t kMaxLength = 32;
  std::array<std::uint8_t, kMaxLength> bytes{};
  std::uint8_t length = 0;

  std::span<const std::uint8_t> view() const noexcept { return std::span(bytes).first(length); }
};

/// TEST UNIT READY (SPC-5 6.47).
Cdb test_unit_ready() noexcept;

struct RequestSense {  // SPC-5 6.39
  bool descriptor_format = false;
  std::uint8_t allocation_length = 0;  // bytes, as in all commands below

  Cdb build() const noexcept;
  static std::optional<RequestSense> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct Inquiry {      // SPC-5 6.7
  bool evpd = false;  // a VPD page instead of the standard data
  std::uint8_t page = 0;
  std::uint16_t allocation_length = 0;

  Cdb build() const noexcept;
  static std::optional<Inquiry> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct ModeSense {  // SPC-5 6.14, 6.15
  bool disable_block_descriptors = true;
  std::uint8_t page_control = 0;  // 0 = current values
  std::uint8_t page = 0;
  std::uint8_t subpage = 0;
  std::uint16_t allocation_length = 0;
  bool ten = false;  // MODE SENSE(10); in (6) the allocation length is 255 at most

  Cdb build() const noexcept;
  static std::optional<ModeSense> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct ReportLuns {                // SPC-5 6.33
  std::uint8_t select_report = 0;  // 0 = all but well-known logical units
  std::uint32_t allocation_length = 0;

  Cdb build() const noexcept;
  static std::optional<ReportLuns> parse(std::span<const std::uint8_t> cdb) noexcept;
};

/// READ CAPACITY(10) (SBC-4 5.20).
Cdb read_capacity_10() noexcept;

struct ReadCapacity16 {  // SBC-4 5.21
  std::uint32_t allocation_length = 0;

  Cdb build() const noexcept;
  static std::optional<ReadCapacity16> parse(std::span<const std::uint8_t> cdb) noexcept;
};

/// READ and WRITE. The gateway sends the 16-byte forms, which have no limit at 2^32 blocks, and the 10-byte forms to
/// those that do not know them.
struct ReadWrite {  // SBC-4 5.17, 5.19, 5.41, 5.43
  bool write = false;
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;  // 0 transfers nothing
  bool fua = false;          // force unit access: on stable storage before the status
  bool dpo = false;          // disable page out
  std::uint8_t protect = 0;  // RDPROTECT or WRPROTECT

  Cdb build() const noexcept;
  /// The 10-byte form; `lba` and `blocks` must fit in 32 and 16 bits.
  Cdb build10() const noexcept;
  static std::optional<ReadWrite> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct SynchronizeCache {  // SBC-4 5.33, 5.34
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;  // 0 = from `lba` to the end
  bool immediate = false;    // status before it is done: never what a flush wants

  Cdb build() const noexcept;
  Cdb build10() const noexcept;
  static std::optional<SynchronizeCache> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct Unmap {  // SBC-4 5.35
  bool anchor = false;
  std::uint16_t parameter_list_length = 0;  // bytes, see unmap.hpp

  Cdb build() const noexcept;
  static std::optional<Unmap> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct WriteSame {  // SBC-4 5.50, 5.51
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;  // 0 = from `lba` to the end, or refused (WSNZ of VPD B0h)
  bool unmap = false;
  bool anchor = false;
  bool no_data_out = false;  // NDOB: the block is all zeroes and not sent; 16-byte form only
  std::uint8_t protect = 0;

  Cdb build() const noexcept;
  /// The 10-byte form, as for ReadWrite; it has no NDOB bit.
  Cdb build10() const noexcept;
  static std::optional<WriteSame> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct GetLbaStatus {  // SBC-4 5.6
  std::uint64_t lba = 0;
  std::uint32_t allocation_length = 0;

  Cdb build() const noexcept;
  static std::optional<GetLbaStatus> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct PreFetch {  // PRE-FETCH(16), SBC-4 5.14
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;  // 0 = from `lba` to the end
  bool immediate = false;

  Cdb build() const noexcept;
  static std::optional<PreFetch> parse(std::span<const std::uint8_t> cdb) noexcept;
};

struct Verify {  // VERIFY(16), SBC-4 5.39
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  std::uint8_t byte_check = 0;  // 0 = medium only, 1 = compare with the data sent
  bool dpo = false;
  std::uint8_t protect = 0;

  Cdb build() const noexcept;
  static std::optional<Verify> parse(std::span<const std::uint8_t> cdb) noexcept;
};

}  // namespace nbdgw::proto::scsi
