#pragma once

#include <cstddef>
#include <cstdint>

/// Numbers of the NBD protocol (NetworkBlockDevice doc/proto.md). All integers are big-endian on the wire.
namespace nbdgw::proto::nbd {

inline constexpr std::uint64_t kInitPassword = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;   // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;

/// Sizes on the wire, bytes.
inline constexpr std::size_t kGreetingLength = 18;
inline constexpr std::size_t kClientFlagsLength = 4;
inline constexpr std::size_t kOptionRequestLength = 16;
inline constexpr std::size_t kOptionReplyLength = 20;
inline constexpr std::size_t kInfoExportLength = 12;
inline constexpr std::size_t kInfoBlockSizeLength = 14;
inline constexpr std::size_t kExportNameZeroes = 124;
inline constexpr std::size_t kRequestLength = 28;
inline constexpr std::size_t kSimpleReplyLength = 16;
inline constexpr std::size_t kChunkHeaderLength = 20;
inline constexpr std::size_t kChunkOffsetLength = 8;  // in front of the data of an OFFSET_DATA chunk
inline constexpr std::size_t kChunkErrorLength = 6;   // in front of the text of an ERROR chunk

/// Longest string anywhere in the protocol: names, descriptions, error texts (section "Values", strings).
inline constexpr std::size_t kMaxString = 4096;

/// Handshake flags, from the server.
inline constexpr std::uint16_t kFlagFixedNewstyle = 1 << 0;
inline constexpr std::uint16_t kFlagNoZeroes = 1 << 1;

/// Client flags.
inline constexpr std::uint32_t kFlagClientFixedNewstyle = 1 << 0;
inline constexpr std::uint32_t kFlagClientNoZeroes = 1 << 1;

/// Transmission flags.
inline constexpr std::uint16_t kFlagHasFlags = 1 << 0;
inline constexpr std::uint16_t kFlagReadOnly = 1 << 1;
inline constexpr std::uint16_t kFlagSendFlush = 1 << 2;
inline constexpr std::uint16_t kFlagSendFua = 1 << 3;
inline constexpr std::uint16_t kFlagRotational = 1 << 4;
inline constexpr std::uint16_t kFlagSendTrim = 1 << 5;
inline constexpr std::uint16_t kFlagSendWriteZeroes = 1 << 6;
inline constexpr std::uint16_t kFlagSendDf = 1 << 7;
inline constexpr std::uint16_t kFlagCanMultiConn = 1 << 8;
inline constexpr std::uint16_t kFlagSendResize = 1 << 9;
inline constexpr std::uint16_t kFlagSendCache = 1 << 10;
inline constexpr std::uint16_t kFlagSendFastZero = 1 << 11;
inline constexpr std::uint16_t kFlagBlockStatusPayload = 1 << 12;

/// Options (section "Option types").
enum class Option : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  peek_export = 4,  // withdrawn
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
  extended_headers = 11,
};

/// Option replies (section "Option reply types"); errors have the top bit set.
enum class Reply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  err_unsup = 0x80000001,
  err_policy = 0x80000002,
  err_invalid = 0x80000003,
  err_platform = 0x80000004,
  err_tls_reqd = 0x80000005,
  err_unknown = 0x80000006,
  err_shutdown = 0x80000007,
  err_block_size_reqd = 0x80000008,
  err_too_big = 0x80000009,
  err_ext_header_reqd = 0x8000000a,
};

/// Information types of NBD_REP_INFO.
enum class Info : std::uint16_t { export_ = 0, name = 1, description = 2, block_size = 3 };

/// Commands (section "Request types").
enum class Command : std::uint16_t {
  read = 0,
  write = 1,
  disc = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
  resize = 8,
};

/// Command flags.
inline constexpr std::uint16_t kCmdFlagFua = 1 << 0;
inline constexpr std::uint16_t kCmdFlagNoHole = 1 << 1;
inline constexpr std::uint16_t kCmdFlagDf = 1 << 2;
inline constexpr std::uint16_t kCmdFlagReqOne = 1 << 3;
inline constexpr std::uint16_t kCmdFlagFastZero = 1 << 4;
inline constexpr std::uint16_t kCmdFlagPayloadLen = 1 << 5;

/// Flags of a structured reply chunk.
inline constexpr std::uint16_t kReplyFlagDone = 1 << 0;

/// Types of structured reply chunks; errors have the top bit set.
enum class Chunk : std::uint16_t {
  none = 0,
  offset_data = 1,
  offset_hole = 2,
  block_status = 5,
  block_status_ext = 6,
  error = 0x8001,
  error_offset = 0x8002,
};

/// Error numbers that may appear on the wire (section "Error values").
enum class Error : std::uint32_t {
  none = 0,
  eperm = 1,
  eio = 5,
  enomem = 12,
  einval = 22,
  enospc = 28,
  eoverflow = 75,
  enotsup = 95,
  eshutdown = 108,
};

}  // namespace nbdgw::proto::nbd
