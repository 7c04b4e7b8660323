#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "proto/bytes/endian.hpp"

/// Parameter data of GET LBA STATUS (SBC-4 5.6.2).
namespace nbdgw::proto::scsi {

enum class ProvisioningStatus : std::uint8_t {
  mapped_or_unknown = 0,
  deallocated = 1,
  anchored = 2,
  mapped = 3,
  unknown = 4
};

struct LbaExtent {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  ProvisioningStatus status = ProvisioningStatus::mapped_or_unknown;  // a peer may send values that have no name here
  friend bool operator==(const LbaExtent&, const LbaExtent&) = default;
};

/// A look at the extents, without a copy: valid as long as the data. What they tell is not judged: that they begin
/// where they were asked for, follow each other and are not empty is for the reader to check.
class LbaStatusList {
 public:
  static constexpr std::size_t kHeaderLength = 8;
  static constexpr std::size_t kDescriptorLength = 16;

  /// Nothing if the header is not complete.
  static std::optional<LbaStatusList> parse(std::span<const std::uint8_t> data) noexcept {
    if (data.size() < kHeaderLength) return std::nullopt;
    // The length field does not count its own four bytes, but the four reserved ones behind it.
    const std::size_t length = std::max<std::size_t>(std::size_t{load_be32(&data[0])} + 4, kHeaderLength);
    return LbaStatusList(data.subspan(kHeaderLength, std::min(length, data.size()) - kHeaderLength));
  }

  std::size_t size() const noexcept { return descriptors_.size() / kDescriptorLength; }
  LbaExtent operator[](std::size_t index) const noexcept {
    const std::uint8_t* at = &descriptors_[index * kDescriptorLength];
    return {load_be64(at), load_be32(at + 8), static_cast<ProvisioningStatus>(at[12] & 0x0f)};
  }

  static std::vector<std::uint8_t> build(std::span<const LbaExtent> extents) {
    std::vector<std::uint8_t> data(kHeaderLength + extents.size() * kDescriptorLength);
    store_be32(&data[0], static_cast<std::uint32_t>(data.size() - 4));
    for (std::size_t i = 0; i < extents.size(); ++i) {
      std::uint8_t* at = &data[kHeaderLength + i * kDescriptorLength];
      store_be64(at, extents[i].lba);
      store_be32(at + 8, extents[i].blocks);
      at[12] = static_cast<std::uint8_t>(extents[i].status);
    }
    return data;
  }

 private:
  explicit LbaStatusList(std::span<const std::uint8_t> descriptors) noexcept : descriptors_(descriptors) {}
  std::span<const std::uint8_t> descriptors_;
};

}  // namespace nbdgw::proto::scsi
