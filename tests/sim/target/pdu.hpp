#pragma once

#include <array>
#include <cstdint>

#include "tests/sim/piece.hpp"
#include "tests/sim/target/wire_bytes.hpp"

namespace nbdgw::sim::pdu {

// Written from RFC 7143 section 11.

inline constexpr std::size_t kHeader = 48;
inline constexpr std::uint32_t kNoTag = 0xffffffff;

enum Opcode : std::uint8_t {
  kNopOut = 0x00,
  kScsiCommand = 0x01,
  kTaskManagement = 0x02,
  kLogin = 0x03,
  kText = 0x04,
  kDataOut = 0x05,
  kLogout = 0x06,
  kSnack = 0x10,
  kNopIn = 0x20,
  kScsiResponse = 0x21,
  kTaskManagementResponse = 0x22,
  kLoginResponse = 0x23,
  kTextResponse = 0x24,
  kDataIn = 0x25,
  kLogoutResponse = 0x26,
  kR2t = 0x31,
  kAsync = 0x32,
  kReject = 0x3f,
};

enum Function : std::uint8_t {
  kAbortTask = 1,
  kAbortTaskSet = 2,
  kClearAca = 3,
  kClearTaskSet = 4,
  kLunReset = 5,
  kWarmReset = 6,
  kColdReset = 7,
  kReassign = 8,
};

enum FunctionResponse : std::uint8_t {
  kComplete = 0,
  kNoSuchTask = 1,
  kNoSuchLun = 2,
  kNotSupported = 5,
  kFunctionRejected = 255,
};

enum RejectReason : std::uint8_t {
  kDigestError = 2,
  kProtocolError = 4,
  kCommandNotSupported = 5,
  kImmediateRejected = 6,
  kInvalidField = 9,
};

enum AsyncEvent : std::uint8_t {
  kScsiEvent = 0,
  kLogoutRequested = 1,
  kDropConnection = 2,
  kDropSession = 3,
  kNegotiate = 4,
  kVendorEvent = 255,
};

using Header = std::array<std::uint8_t, kHeader>;

/// A request as it came. Valid while the bytes are.
struct Request {
  const std::uint8_t* bhs;
  Bytes ahs;
  Piece data;

  std::uint8_t opcode() const noexcept { return bhs[0] & 0x3f; }
  bool immediate() const noexcept { return (bhs[0] & 0x40) != 0; }
  bool final() const noexcept { return (bhs[1] & 0x80) != 0; }
  std::uint64_t lun() const noexcept { return be64(bhs + 8); }
  std::uint32_t itt() const noexcept { return be32(bhs + 16); }
  std::uint32_t ttt() const noexcept { return be32(bhs + 20); }
  std::uint32_t cmd_sn() const noexcept { return be32(bhs + 24); }
  std::uint32_t exp_stat_sn() const noexcept { return be32(bhs + 28); }
};

/// Begins a PDU of the target: the final bit is set in all but some Data-In.
inline Header begin(Opcode opcode, std::uint32_t itt, std::uint8_t flags = 0x80) noexcept {
  Header bhs{};
  bhs[0] = opcode;
  bhs[1] = flags;
  put_be32(&bhs[16], itt);
  return bhs;
}

}  // namespace nbdgw::sim::pdu
