#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"

/// Parameter list of UNMAP (SBC-4 5.35.2).
namespace nbdgw::proto::scsi {

struct UnmapRange {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  friend bool operator==(const UnmapRange&, const UnmapRange&) = default;
};

inline constexpr std::size_t kUnmapHeaderLength = 8;
inline constexpr std::size_t kUnmapDescriptorLength = 16;
/// Descriptors that a parameter list can hold: its length is 16 bits in the CDB.
inline constexpr std::size_t kMaxUnmapDescriptors = (0xffff - kUnmapHeaderLength) / kUnmapDescriptorLength;

constexpr std::size_t unmap_list_length(std::size_t ranges) noexcept {
  return kUnmapHeaderLength + ranges * kUnmapDescriptorLength;
}

/// Writes the list into `out` (at least unmap_list_length() bytes) and returns its length in bytes.
inline std::size_t build_unmap_list(std::span<const UnmapRange> ranges, std::span<std::uint8_t> out) noexcept {
  const std::size_t length = unmap_list_length(ranges.size());
  NBDGW_ASSERT(ranges.size() <= kMaxUnmapDescriptors && out.size() >= length, "room for the UNMAP parameter list");
  std::fill_n(out.begin(), length, std::uint8_t{0});
  store_be16(&out[0], static_cast<std::uint16_t>(length - 2));
  store_be16(&out[2], static_cast<std::uint16_t>(length - kUnmapHeaderLength));
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    store_be64(&out[unmap_list_length(i)], ranges[i].lba);
    store_be32(&out[unmap_list_length(i) + 8], ranges[i].blocks);
  }
  return length;
}

/// A look at a list, without a copy: valid as long as the data.
class UnmapList {
 public:
  /// Nothing if the header is not complete, or tells of more data than is there (5.35.2: both are errors of the
  /// sender). A part of a descriptor at the end is ignored, as the standard wants.
  static std::optional<UnmapList> parse(std::span<const std::uint8_t> data) noexcept {
    if (data.size() < kUnmapHeaderLength) return std::nullopt;
    const std::size_t list_length = 2U + load_be16(&data[0]);
    const std::size_t descriptors_length = load_be16(&data[2]);
    if (list_length > data.size() || kUnmapHeaderLength + descriptors_length > data.size()) return std::nullopt;
    return UnmapList(data.subspan(kUnmapHeaderLength, descriptors_length));
  }

  std::size_t size() const noexcept { return descriptors_.size() / kUnmapDescriptorLength; }
  UnmapRange operator[](std::size_t index) const noexcept {
    const std::uint8_t* at = &descriptors_[index * kUnmapDescriptorLength];
    return {load_be64(at), load_be32(at + 8)};
  }

 private:
  explicit UnmapList(std::span<const std::uint8_t> descriptors) noexcept : descriptors_(descriptors) {}
  std::span<const std::uint8_t> descriptors_;
};

}  // namespace nbdgw::proto::scsi
