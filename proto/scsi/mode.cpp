#include "proto/scsi/mode.hpp"

#include <algorithm>

#include "proto/bytes/endian.hpp"
#include "proto/scsi/constants.hpp"

namespace nbdgw::proto::scsi {
namespace {

constexpr std::size_t kHeader6 = 4;
constexpr std::size_t kHeader10 = 8;
constexpr std::uint8_t kWriteProtect = 0x80;
constexpr std::uint8_t kDpoFua = 0x10;
constexpr std::uint8_t kSubpageFormat = 0x40;  // SPF: the page has a subpage code and a 16-bit length
constexpr std::uint8_t kWriteCacheEnable = 0x04;
constexpr std::size_t kCachingPageLength = 20;

std::optional<bool> find_write_cache(std::span<const std::uint8_t> pages) noexcept {
  while (pages.size() >= 2) {
    const bool subpage = (pages[0] & kSubpageFormat) != 0;
    if (subpage && pages.size() < 4) return std::nullopt;
    const std::size_t length = subpage ? 4U + load_be16(&pages[2]) : 2U + pages[1];
    if (!subpage && (pages[0] & 0x3f) == mode_page::kCaching && length > 2 && pages.size() > 2)
      return (pages[2] & kWriteCacheEnable) != 0;
    if (length > pages.size()) return std::nullopt;
    pages = pages.subspan(length);
  }
  return std::nullopt;
}

}  // namespace

std::optional<ModeParameters> ModeParameters::parse(std::span<const std::uint8_t> data, bool ten) noexcept {
  const std::size_t header = ten ? kHeader10 : kHeader6;
  if (data.size() < header) return std::nullopt;
  // The length field does not count itself.
  const std::size_t length = ten ? 2U + load_be16(&data[0]) : 1U + data[0];
  data = data.first(std::min(data.size(), std::max(length, header)));
  const std::uint8_t device_specific = data[ten ? 3 : 2];
  ModeParameters parameters;
  parameters.write_protected = (device_specific & kWriteProtect) != 0;
  parameters.dpofua = (device_specific & kDpoFua) != 0;
  const std::size_t descriptors = ten ? load_be16(&data[6]) : data[3];
  if (descriptors <= data.size() - header)
    parameters.write_cache_enabled = find_write_cache(data.subspan(header + descriptors));
  return parameters;
}

std::vector<std::uint8_t> ModeParameters::build(bool ten) const {
  const std::size_t header = ten ? kHeader10 : kHeader6;
  std::vector<std::uint8_t> data(header + (write_cache_enabled ? kCachingPageLength : 0));
  if (ten) {
    store_be16(&data[0], static_cast<std::uint16_t>(data.size() - 2));
  } else {
    data[0] = static_cast<std::uint8_t>(data.size() - 1);
  }
  data[ten ? 3 : 2] = static_cast<std::uint8_t>((write_protected ? kWriteProtect : 0) | (dpofua ? kDpoFua : 0));
  if (write_cache_enabled) {
    data[header] = mode_page::kCaching;
    data[header + 1] = kCachingPageLength - 2;
    data[header + 2] = *write_cache_enabled ? kWriteCacheEnable : 0;
  }
  return data;
}

}  // namespace nbdgw::proto::scsi
