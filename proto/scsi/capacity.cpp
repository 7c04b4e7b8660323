#include "proto/scsi/capacity.hpp"

#include <algorithm>

#include "proto/bytes/endian.hpp"

namespace nbdgw::proto::scsi {

std::optional<Capacity> Capacity::parse10(std::span<const std::uint8_t> data) noexcept {
  if (data.size() < kLength10) return std::nullopt;
  Capacity capacity;
  capacity.last_lba = load_be32(&data[0]);
  capacity.block_length = load_be32(&data[4]);
  return capacity;
}

std::optional<Capacity> Capacity::parse16(std::span<const std::uint8_t> data) noexcept {
  if (data.size() < 12) return std::nullopt;
  Capacity capacity;
  capacity.last_lba = load_be64(&data[0]);
  capacity.block_length = load_be32(&data[8]);
  if (data.size() < 16) return capacity;
  capacity.protection_enabled = (data[12] & 0x01) != 0;
  capacity.blocks_per_physical_exponent = data[13] & 0x0f;
  capacity.lbpme = (data[14] & 0x80) != 0;
  capacity.lbprz = (data[14] & 0x40) != 0;
  capacity.lowest_aligned_lba = load_be16(&data[14]) & 0x3fff;
  return capacity;
}

std::vector<std::uint8_t> Capacity::build10() const {
  std::vector<std::uint8_t> data(kLength10);
  store_be32(&data[0], static_cast<std::uint32_t>(std::min<std::uint64_t>(last_lba, 0xffffffffU)));
  store_be32(&data[4], block_length);
  return data;
}

std::vector<std::uint8_t> Capacity::build16() const {
  std::vector<std::uint8_t> data(kLength16);
  store_be64(&data[0], last_lba);
  store_be32(&data[8], block_length);
  data[12] = protection_enabled ? 0x01 : 0;
  data[13] = blocks_per_physical_exponent & 0x0f;
  store_be16(&data[14],
             static_cast<std::uint16_t>((lowest_aligned_lba & 0x3fff) | (lbpme ? 0x8000 : 0) | (lbprz ? 0x4000 : 0)));
  return data;
}

}  // namespace nbdgw::proto::scsi
