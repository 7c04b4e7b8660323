#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "proto/nbd/constants.hpp"

/// The fixed-size messages of the NBD protocol. Each struct holds the fields in host order; encode() writes all bytes
/// of `to`, decode() reads them without judging: what a value may be is the engine's business. Magic numbers are
/// written by encode(), and kept by decode() where a peer can get them wrong.
namespace nbdgw::proto::nbd {

template <std::size_t N>
using Out = std::span<std::uint8_t, N>;
template <std::size_t N>
using In = std::span<const std::uint8_t, N>;

/// The server's first words: NBDMAGIC, IHAVEOPT and the handshake flags.
struct Greeting {
  std::uint64_t init_password = kInitPassword;
  std::uint64_t option_magic = kOptionMagic;
  std::uint16_t flags = 0;

  void encode(Out<kGreetingLength> to) const noexcept;
  static Greeting decode(In<kGreetingLength> from) noexcept;
};

/// An option's header; `length` bytes of data follow.
struct OptionRequest {
  std::uint64_t magic = kOptionMagic;
  Option option{};  // may be one that we do not know
  std::uint32_t length = 0;

  void encode(Out<kOptionRequestLength> to) const noexcept;
  static OptionRequest decode(In<kOptionRequestLength> from) noexcept;
};

/// The header of a reply to an option; `length` bytes of data follow.
struct OptionReply {
  std::uint64_t magic = kOptionReplyMagic;
  Option option{};
  Reply type{};
  std::uint32_t length = 0;

  void encode(Out<kOptionReplyLength> to) const noexcept;
  static OptionReply decode(In<kOptionReplyLength> from) noexcept;
};

/// Data of an NBD_REP_INFO with NBD_INFO_EXPORT.
struct InfoExport {
  std::uint64_t size = 0;   // bytes
  std::uint16_t flags = 0;  // transmission flags

  void encode(Out<kInfoExportLength> to) const noexcept;
  static InfoExport decode(In<kInfoExportLength> from) noexcept;
};

/// Data of an NBD_REP_INFO with NBD_INFO_BLOCK_SIZE. All in bytes.
struct InfoBlockSize {
  std::uint32_t minimum = 1;
  std::uint32_t preferred = 4096;
  std::uint32_t max_payload = 0;

  void encode(Out<kInfoBlockSizeLength> to) const noexcept;
  static InfoBlockSize decode(In<kInfoBlockSizeLength> from) noexcept;
};

/// A request of the transmission phase. A WRITE's payload follows, `length` bytes.
struct Request {
  std::uint32_t magic = kRequestMagic;
  std::uint16_t flags = 0;
  Command command{};  // may be one that we do not know
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;  // bytes
  std::uint32_t length = 0;  // bytes

  void encode(Out<kRequestLength> to) const noexcept;
  static Request decode(In<kRequestLength> from) noexcept;
};

/// A simple reply. A successful READ's data follows.
struct SimpleReply {
  std::uint32_t magic = kSimpleReplyMagic;
  Error error = Error::none;
  std::uint64_t cookie = 0;

  void encode(Out<kSimpleReplyLength> to) const noexcept;
  static SimpleReply decode(In<kSimpleReplyLength> from) noexcept;
};

/// The header of a structured reply chunk; `length` bytes of content follow.
struct ChunkHeader {
  std::uint32_t magic = kStructuredReplyMagic;
  std::uint16_t flags = 0;
  Chunk type{};
  std::uint64_t cookie = 0;
  std::uint32_t length = 0;

  void encode(Out<kChunkHeaderLength> to) const noexcept;
  static ChunkHeader decode(In<kChunkHeaderLength> from) noexcept;
};

/// The begin of the content of an ERROR or ERROR_OFFSET chunk. `text_length` bytes of text follow, and after them, in
/// an ERROR_OFFSET chunk, the offset (64 bits).
struct ChunkError {
  Error error = Error::none;
  std::uint16_t text_length = 0;

  void encode(Out<kChunkErrorLength> to) const noexcept;
  static ChunkError decode(In<kChunkErrorLength> from) noexcept;
};

}  // namespace nbdgw::proto::nbd
