#pragma once

#include <cstdint>

#include "tests/sim/target/wire_bytes.hpp"

namespace nbdgw::sim::scsi {

// Written from SAM-5, SPC-5 and SBC-4.

enum Operation : std::uint8_t {
  kTestUnitReady = 0x00,
  kRequestSense = 0x03,
  kInquiry = 0x12,
  kModeSense6 = 0x1a,
  kReadCapacity10 = 0x25,
  kRead10 = 0x28,
  kWrite10 = 0x2a,
  kSynchronizeCache10 = 0x35,
  kWriteSame10 = 0x41,
  kUnmap = 0x42,
  kModeSense10 = 0x5a,
  kRead16 = 0x88,
  kWrite16 = 0x8a,
  kSynchronizeCache16 = 0x91,
  kWriteSame16 = 0x93,
  kServiceActionIn16 = 0x9e,
  kReportLuns = 0xa0,
};
inline constexpr std::uint8_t kReadCapacity16 = 0x10;  // service action

enum Status : std::uint8_t {
  kGood = 0x00,
  kCheckCondition = 0x02,
  kBusy = 0x08,
  kReservationConflict = 0x18,
  kTaskSetFull = 0x28,
  kTaskAborted = 0x40,
};

struct Sense {
  std::uint8_t key = 0;
  std::uint8_t asc = 0;
  std::uint8_t ascq = 0;
  bool deferred = false;
  friend bool operator==(const Sense&, const Sense&) = default;
};

inline constexpr Sense kInvalidOperation{5, 0x20, 0};
inline constexpr Sense kOutOfRange{5, 0x21, 0};
inline constexpr Sense kInvalidField{5, 0x24, 0};
inline constexpr Sense kNoSuchUnit{5, 0x25, 0};
inline constexpr Sense kInvalidParameter{5, 0x26, 0};
inline constexpr Sense kWriteProtected{7, 0x27, 0};
inline constexpr Sense kPowerOnOrReset{6, 0x29, 0};
inline constexpr Sense kPowerOn{6, 0x29, 1};
inline constexpr Sense kBusReset{6, 0x29, 2};
inline constexpr Sense kUnitReset{6, 0x29, 3};
inline constexpr Sense kModeChanged{6, 0x2a, 1};
inline constexpr Sense kAccessStateChanged{6, 0x2a, 6};
inline constexpr Sense kCapacityChanged{6, 0x2a, 9};
inline constexpr Sense kCommandsCleared{6, 0x2f, 0};
inline constexpr Sense kThinThreshold{6, 0x38, 7};
inline constexpr Sense kInquiryChanged{6, 0x3f, 3};
inline constexpr Sense kLunsChanged{6, 0x3f, 0x0e};

/// What a command does to blocks.
struct BlockCommand {
  enum class Kind : std::uint8_t { none, read, write, write_same, unmap, synchronize };
  Kind kind = Kind::none;
  bool sixteen = false;  // the 16-byte form
  std::uint64_t lba = 0;
  std::uint64_t blocks = 0;  // UNMAP: see its parameter list

  bool writes() const noexcept { return kind >= Kind::write && kind <= Kind::unmap; }
};

inline BlockCommand block_command(const std::uint8_t* cdb) noexcept {
  using Kind = BlockCommand::Kind;
  const auto ten = [cdb](Kind kind) { return BlockCommand{kind, false, be32(cdb + 2), be16(cdb + 7)}; };
  const auto sixteen = [cdb](Kind kind) { return BlockCommand{kind, true, be64(cdb + 2), be32(cdb + 10)}; };
  switch (cdb[0]) {
    case kRead10:
      return ten(Kind::read);
    case kWrite10:
      return ten(Kind::write);
    case kSynchronizeCache10:
      return ten(Kind::synchronize);
    case kWriteSame10:
      return ten(Kind::write_same);
    case kUnmap:
      return {.kind = Kind::unmap};
    case kRead16:
      return sixteen(Kind::read);
    case kWrite16:
      return sixteen(Kind::write);
    case kSynchronizeCache16:
      return sixteen(Kind::synchronize);
    case kWriteSame16:
      return sixteen(Kind::write_same);
    default:
      return {};
  }
}

/// Of those that a unit answers whatever it has to report, and whatever its state (SPC-5 4.3, SAM-5 5.14).
inline bool always_answered(std::uint8_t operation) noexcept {
  return operation == kInquiry || operation == kReportLuns || operation == kRequestSense;
}

}  // namespace nbdgw::sim::scsi
