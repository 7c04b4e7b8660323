#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "proto/bytes/endian.hpp"

/// Parameter data of REPORT LUNS (SPC-5 6.33.2).
namespace nbdgw::proto::scsi {

/// A look at the list, without a copy: valid as long as the data.
class LunList {
 public:
  static constexpr std::size_t kHeaderLength = 8;

  /// Nothing if the header is not complete.
  static std::optional<LunList> parse(std::span<const std::uint8_t> data) noexcept {
    if (data.size() < kHeaderLength) return std::nullopt;
    return LunList(data);
  }

  /// LUNs that are in the data.
  std::size_t size() const noexcept {
    return std::min<std::size_t>(reported_bytes(), data_.size() - kHeaderLength) / 8;
  }
  /// The LUN as the 8 bytes of SAM-5 4.7 (see lun.hpp); index < size().
  std::uint64_t operator[](std::size_t index) const noexcept { return load_be64(&data_[kHeaderLength + index * 8]); }

  /// Allocation length that the whole list would have needed: larger than the data if it was cut.
  std::uint64_t needed_length() const noexcept { return std::uint64_t{reported_bytes()} + kHeaderLength; }

  static std::vector<std::uint8_t> build(std::span<const std::uint64_t> luns) {
    std::vector<std::uint8_t> data(kHeaderLength + luns.size() * 8);
    store_be32(&data[0], static_cast<std::uint32_t>(luns.size() * 8));
    for (std::size_t i = 0; i < luns.size(); ++i) store_be64(&data[kHeaderLength + i * 8], luns[i]);
    return data;
  }

 private:
  explicit LunList(std::span<const std::uint8_t> data) noexcept : data_(data) {}
  std::uint32_t reported_bytes() const noexcept { return load_be32(&data_[0]); }

  std::span<const std::uint8_t> data_;
};

}  // namespace nbdgw::proto::scsi
