#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "proto/scsi/constants.hpp"

/// Sense data (SPC-5 4.5), fixed (70h, 71h) and descriptor format (72h, 73h).
namespace nbdgw::proto::scsi {

/// Sense beyond this length is not looked at (reference iscsi_scsi_cmd_rsp: 96 bytes kept).
inline constexpr std::size_t kMaxSenseLength = 96;

struct Sense {
  SenseKey key = SenseKey::no_sense;
  std::uint8_t asc = 0;
  std::uint8_t ascq = 0;
  bool deferred = false;                     // 71h, 73h: about an earlier command, not about this one
  std::optional<std::uint64_t> information;  // for block commands the LBA; only if its VALID bit is set

  AdditionalSense additional() const noexcept { return {asc, ascq}; }
  bool is(SenseKey other_key, AdditionalSense code) const noexcept {
    return key == other_key && asc == code.asc && ascq == code.ascq;
  }
};

/// Takes sense data apart. Nothing if it is too short to hold a sense key or its response code is none of the four;
/// fields that the data is too short for are 0. Any bytes are safe.
std::optional<Sense> parse_sense(std::span<const std::uint8_t> data) noexcept;

/// Length of the fixed format as build_fixed_sense() makes it.
inline constexpr std::size_t kFixedSenseLength = 18;
/// Longest descriptor format that build_descriptor_sense() makes: header and information descriptor.
inline constexpr std::size_t kMaxDescriptorSenseLength = 20;

/// Writes fixed format sense into `out` (at least kFixedSenseLength bytes) and returns its length. An information
/// that does not fit 32 bits is left out, VALID being 0 then, as SPC-5 4.5.3 wants it.
std::size_t build_fixed_sense(const Sense& sense, std::span<std::uint8_t> out) noexcept;

/// The same in descriptor format, into at least kMaxDescriptorSenseLength bytes.
std::size_t build_descriptor_sense(const Sense& sense, std::span<std::uint8_t> out) noexcept;

/// For logs: "MEDIUM ERROR, unrecovered read error (3/11/00)".
std::string describe(const Sense& sense);

/// The name of a status as SAM-5 writes it, or "status xxh".
std::string describe_status(std::uint8_t status);

}  // namespace nbdgw::proto::scsi
