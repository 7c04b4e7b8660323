#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>

#include "gateway/initiator/error.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

/// Where the data segment of a PDU goes: into a scatter list at an offset, or (empty list) into the reader's own
/// buffer.
struct Placement {
  ConnectionError error = ConnectionError::none;  // not none: the connection must go
  std::span<const iovec> list{};
  std::size_t offset = 0;
  bool discard = false;  // nobody wants it: it is read and forgotten, its digest not looked at
};

/// A whole PDU, digests verified.
struct ReceivedPdu {
  const proto::iscsi::Bhs& bhs;
  /// The data segment if it was not placed into memory of the handler's choice.
  std::span<const std::uint8_t> data;
};

class PduHandler {
 public:
  /// The header is there, its digest verified: where should the data segment go? Called only if there is one.
  virtual Placement place(const proto::iscsi::Bhs& bhs) = 0;
  /// All of the PDU is there. Not none: the connection must go.
  virtual ConnectionError complete_pdu(const ReceivedPdu& pdu, proto::Micros now) = 0;

 protected:
  ~PduHandler() = default;
};

/// Cuts the byte stream of an iSCSI connection into PDUs (RFC 7143 section 11.2). A header is gathered in a staging
/// buffer; a data segment goes straight to where the handler wants it. Bytes of a data segment that came in one piece
/// with their header are moved once, from the staging buffer: for small segments that costs far less than a receive
/// call for each. How much may come that way is limited when segments are large.
class PduReader {
 public:
  static constexpr std::size_t kStaging = 32 * 1024;
  /// A data segment of this size or more is received on its own, with room for little more than the next header.
  static constexpr std::uint32_t kLargeSegment = 16 * 1024;
  static constexpr std::size_t kHeaderRoom = 128;
  /// Additional header segments are taken up to this many bytes, and ignored: none that targets send matter to us.
  static constexpr std::uint32_t kMaxAhsLength = 64;
  /// Data segments that are not read data: text, sense, rejected headers.
  static constexpr std::uint32_t kMaxControlLength = 16 * 1024;

  PduReader() noexcept;

  /// Forgets everything: a new connection begins, without digests and with the default length limit.
  void reset() noexcept;
  void set_digests(bool header, bool data) noexcept;
  /// Our MaxRecvDataSegmentLength.
  void set_max_data_length(std::uint32_t bytes) noexcept { max_data_length_ = bytes; }

  /// Fills `out` (three entries or more: data, padding and digest, the next headers) with where the next bytes go;
  /// returns the number of entries.
  std::size_t rx_buffers(std::span<iovec> out) noexcept;
  /// `bytes` have been received into them. Not none: the connection must go, and the reader is not to be used before
  /// reset().
  ConnectionError on_received(std::size_t bytes, PduHandler& handler, proto::Micros now);

 private:
  enum class Phase : std::uint8_t { header, data, trailer };

  ConnectionError parse(PduHandler& handler, proto::Micros now);
  ConnectionError parse_header(PduHandler& handler, proto::Micros now, bool& complete);
  ConnectionError finish(PduHandler& handler, proto::Micros now);
  bool data_digest_matches() const noexcept;
  std::size_t data_buffers(std::span<iovec> out, std::size_t& covered) noexcept;
  void take_data_from_staging() noexcept;
  void take_trailer_from_staging() noexcept;

  Phase phase_ = Phase::header;
  bool header_digest_ = false;
  bool data_digest_ = false;
  bool last_was_large_ = false;
  std::uint32_t max_data_length_ = proto::iscsi::kDefaultMaxRecvDataSegmentLength;

  proto::iscsi::Bhs bhs_{};
  Placement placement_{};
  std::uint32_t data_length_ = 0;
  std::uint32_t data_left_ = 0;
  std::uint32_t trailer_length_ = 0;  // padding and data digest
  std::uint32_t trailer_left_ = 0;
  std::uint32_t generation_ = 0;  // counts reset(), to notice one from inside a handler

  std::size_t begin_ = 0;  // bytes of staging_ not yet looked at; empty while in phase data and trailer
  std::size_t end_ = 0;
  std::array<std::uint8_t, 8> trailer_{};
  iovec control_list_{};
  std::array<std::uint8_t, kMaxControlLength> control_;
  std::array<std::uint8_t, kStaging> staging_;
};

}  // namespace nbdgw::initiator
