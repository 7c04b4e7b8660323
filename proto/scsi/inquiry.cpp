#include "proto/scsi/inquiry.hpp"

#include <algorithm>

#include "proto/bytes/endian.hpp"

namespace nbdgw::proto::scsi {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kPageHeader = 4;

/// The body of a VPD page, cut at its own length; nothing if it is another page or has no header.
std::optional<Bytes> body_of(Bytes data, std::uint8_t page) noexcept {
  if (data.size() < kPageHeader || data[1] != page) return std::nullopt;
  const std::size_t length = load_be16(&data[2]);
  return data.subspan(kPageHeader, std::min(length, data.size() - kPageHeader));
}

std::vector<std::uint8_t> begin_page(std::uint8_t page, std::size_t body_length) {
  std::vector<std::uint8_t> data(kPageHeader + body_length);
  data[1] = page;
  store_be16(&data[2], static_cast<std::uint16_t>(body_length));
  return data;
}

/// Text without blanks and zeroes at its ends; what is not printable ASCII becomes '?', for it ends in logs and
/// labels.
std::string clean_text(Bytes bytes) {
  const auto blank = [](std::uint8_t c) { return c == ' ' || c == 0; };
  const auto first = std::find_if_not(bytes.begin(), bytes.end(), blank);
  const auto last = std::find_if_not(bytes.rbegin(), bytes.rend(), blank).base();
  std::string text;
  for (auto at = first; at < last; ++at) text += *at >= 0x20 && *at < 0x7f ? static_cast<char>(*at) : '?';
  return text;
}

/// A fixed field of INQUIRY data: left-aligned, filled with blanks.
void put_text(std::span<std::uint8_t> field, const std::string& text) noexcept {
  std::fill(field.begin(), field.end(), static_cast<std::uint8_t>(' '));
  std::copy_n(text.begin(), std::min(text.size(), field.size()), field.begin());
}

std::string hex(Bytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0x0f];
  }
  return text;
}

}  // namespace

std::optional<StandardInquiry> StandardInquiry::parse(Bytes data) {
  if (data.size() < 5) return std::nullopt;
  data = data.first(std::min<std::size_t>(data.size(), std::size_t{data[4]} + 5));
  StandardInquiry inquiry;
  inquiry.qualifier = static_cast<std::uint8_t>(data[0] >> 5);
  inquiry.device_type = data[0] & 0x1f;
  inquiry.removable = (data[1] & 0x80) != 0;
  inquiry.version = data[2];
  inquiry.third_party_copy = data.size() > 5 && (data[5] & 0x08) != 0;
  inquiry.command_queuing = data.size() > 7 && (data[7] & 0x02) != 0;
  const auto text = [&](std::size_t at, std::size_t length) {
    return at >= data.size() ? std::string() : clean_text(data.subspan(at, std::min(length, data.size() - at)));
  };
  inquiry.vendor = text(8, 8);
  inquiry.product = text(16, 16);
  inquiry.revision = text(32, 4);
  return inquiry;
}

std::vector<std::uint8_t> StandardInquiry::build() const {
  std::vector<std::uint8_t> data(kMinLength);
  data[0] = static_cast<std::uint8_t>((qualifier << 5) | (device_type & 0x1f));
  data[1] = removable ? 0x80 : 0;
  data[2] = version;
  data[3] = 0x02;  // response data format
  data[4] = kMinLength - 5;
  data[5] = third_party_copy ? 0x08 : 0;
  data[7] = command_queuing ? 0x02 : 0;
  put_text(std::span(data).subspan(8, 8), vendor);
  put_text(std::span(data).subspan(16, 16), product);
  put_text(std::span(data).subspan(32, 4), revision);
  return data;
}

std::optional<SupportedPages> SupportedPages::parse(Bytes data) noexcept {
  const auto body = body_of(data, vpd::kSupportedPages);
  if (!body) return std::nullopt;
  SupportedPages pages;
  for (const std::uint8_t page : *body) pages.supported[page] = true;
  return pages;
}

std::vector<std::uint8_t> SupportedPages::build() const {
  std::vector<std::uint8_t> data = begin_page(vpd::kSupportedPages, 0);
  for (std::size_t page = 0; page < supported.size(); ++page) {
    if (supported[page]) data.push_back(static_cast<std::uint8_t>(page));
  }
  store_be16(&data[2], static_cast<std::uint16_t>(data.size() - kPageHeader));
  return data;
}

std::optional<UnitSerialNumber> UnitSerialNumber::parse(Bytes data) {
  const auto body = body_of(data, vpd::kUnitSerialNumber);
  if (!body) return std::nullopt;
  return UnitSerialNumber{clean_text(*body)};
}

std::vector<std::uint8_t> UnitSerialNumber::build() const {
  std::vector<std::uint8_t> data = begin_page(vpd::kUnitSerialNumber, serial.size());
  std::copy(serial.begin(), serial.end(), data.begin() + kPageHeader);
  return data;
}

std::string Designator::text() const {
  switch (type) {
    case DesignatorType::naa:
      return "naa." + hex(value);
    case DesignatorType::eui_64:
      return "eui." + hex(value);
    case DesignatorType::t10_vendor_id:
      return "t10." + clean_text(value);
    case DesignatorType::scsi_name:
      return clean_text(value);
    default:
      return hex(value);
  }
}

std::optional<DeviceIdentification> DeviceIdentification::parse(Bytes data) {
  const auto body = body_of(data, vpd::kDeviceIdentification);
  if (!body) return std::nullopt;
  DeviceIdentification page;
  Bytes rest = *body;
  while (rest.size() > 4 && page.designators.size() < kMaxDesignators) {
    const std::size_t length = rest[3];
    if (length > rest.size() - 4) break;
    const Bytes value = rest.subspan(4, length);
    page.designators.push_back({.type = static_cast<DesignatorType>(rest[1] & 0x0f),
                                .association = static_cast<Association>((rest[1] >> 4) & 0x03),
                                .code_set = static_cast<std::uint8_t>(rest[0] & 0x0f),
                                .value = {value.begin(), value.end()}});
    rest = rest.subspan(4 + length);
  }
  return page;
}

std::vector<std::uint8_t> DeviceIdentification::build() const {
  std::vector<std::uint8_t> data = begin_page(vpd::kDeviceIdentification, 0);
  for (const Designator& designator : designators) {
    const std::size_t length = std::min<std::size_t>(designator.value.size(), 255);
    data.push_back(designator.code_set & 0x0f);
    data.push_back(static_cast<std::uint8_t>((static_cast<unsigned>(designator.association) << 4) |
                                             static_cast<unsigned>(designator.type)));
    data.push_back(0);
    data.push_back(static_cast<std::uint8_t>(length));
    data.insert(data.end(), designator.value.begin(), designator.value.begin() + static_cast<std::ptrdiff_t>(length));
  }
  store_be16(&data[2], static_cast<std::uint16_t>(data.size() - kPageHeader));
  return data;
}

const Designator* DeviceIdentification::best() const noexcept {
  static constexpr DesignatorType kPreference[] = {DesignatorType::naa, DesignatorType::eui_64,
                                                   DesignatorType::scsi_name, DesignatorType::t10_vendor_id};
  for (const DesignatorType type : kPreference) {
    for (const Designator& designator : designators) {
      if (designator.type == type && designator.association == Association::logical_unit && !designator.value.empty())
        return &designator;
    }
  }
  return nullptr;
}

std::optional<BlockLimits> BlockLimits::parse(Bytes data) noexcept {
  if (!body_of(data, vpd::kBlockLimits)) return std::nullopt;
  data = data.first(kPageHeader + body_of(data, vpd::kBlockLimits)->size());
  BlockLimits limits;
  if (data.size() < 16) return limits;
  limits.write_same_no_zero = (data[4] & 0x01) != 0;
  limits.max_compare_and_write = data[5];
  limits.optimal_transfer_granularity = load_be16(&data[6]);
  limits.max_transfer = load_be32(&data[8]);
  limits.optimal_transfer = load_be32(&data[12]);
  if (data.size() < 36) return limits;
  limits.max_prefetch = load_be32(&data[16]);
  limits.max_unmap_lba_count = load_be32(&data[20]);
  limits.max_unmap_descriptor_count = load_be32(&data[24]);
  limits.optimal_unmap_granularity = load_be32(&data[28]);
  if ((data[32] & 0x80) != 0) limits.unmap_granularity_alignment = load_be32(&data[32]) & 0x7fffffffU;
  if (data.size() >= 44) limits.max_write_same = load_be64(&data[36]);
  return limits;
}

std::vector<std::uint8_t> BlockLimits::build() const {
  std::vector<std::uint8_t> data = begin_page(vpd::kBlockLimits, 0x3c);
  data[4] = write_same_no_zero ? 0x01 : 0;
  data[5] = max_compare_and_write;
  store_be16(&data[6], optimal_transfer_granularity);
  store_be32(&data[8], max_transfer);
  store_be32(&data[12], optimal_transfer);
  store_be32(&data[16], max_prefetch);
  store_be32(&data[20], max_unmap_lba_count);
  store_be32(&data[24], max_unmap_descriptor_count);
  store_be32(&data[28], optimal_unmap_granularity);
  if (unmap_granularity_alignment) store_be32(&data[32], 0x80000000U | *unmap_granularity_alignment);
  store_be64(&data[36], max_write_same);
  return data;
}

std::optional<BlockDeviceCharacteristics> BlockDeviceCharacteristics::parse(Bytes data) noexcept {
  const auto body = body_of(data, vpd::kBlockDeviceCharacteristics);
  if (!body || body->size() < 2) return std::nullopt;
  return BlockDeviceCharacteristics{load_be16(body->data())};
}

std::vector<std::uint8_t> BlockDeviceCharacteristics::build() const {
  std::vector<std::uint8_t> data = begin_page(vpd::kBlockDeviceCharacteristics, 0x3c);
  store_be16(&data[4], rotation_rate);
  return data;
}

std::optional<LogicalBlockProvisioning> LogicalBlockProvisioning::parse(Bytes data) noexcept {
  const auto found = body_of(data, vpd::kLogicalBlockProvisioning);
  if (!found || found->size() < 2) return std::nullopt;
  const Bytes body = *found;
  LogicalBlockProvisioning page;
  page.threshold_exponent = body[0];
  page.lbpu = (body[1] & 0x80) != 0;
  page.lbpws = (body[1] & 0x40) != 0;
  page.lbpws10 = (body[1] & 0x20) != 0;
  page.lbprz = static_cast<std::uint8_t>((body[1] >> 2) & 0x07);
  page.anchor_supported = (body[1] & 0x02) != 0;
  if (body.size() > 2) page.provisioning_type = body[2] & 0x07;
  return page;
}

std::vector<std::uint8_t> LogicalBlockProvisioning::build() const {
  std::vector<std::uint8_t> data = begin_page(vpd::kLogicalBlockProvisioning, 4);
  data[4] = threshold_exponent;
  data[5] = static_cast<std::uint8_t>((lbpu ? 0x80 : 0) | (lbpws ? 0x40 : 0) | (lbpws10 ? 0x20 : 0) |
                                      ((lbprz & 0x07) << 2) | (anchor_supported ? 0x02 : 0));
  data[6] = provisioning_type & 0x07;
  return data;
}

}  // namespace nbdgw::proto::scsi
