#include "proto/scsi/sense.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"

namespace nbdgw::proto::scsi {
namespace {

constexpr std::uint8_t kFixedCurrent = 0x70;
constexpr std::uint8_t kFixedDeferred = 0x71;
constexpr std::uint8_t kDescriptorCurrent = 0x72;
constexpr std::uint8_t kDescriptorDeferred = 0x73;
constexpr std::uint8_t kValid = 0x80;
constexpr std::size_t kHeaderLength = 8;  // both formats; the additional length counts from here
constexpr std::uint8_t kInformationDescriptor = 0x00;
constexpr std::uint8_t kInformationDescriptorLength = 0x0a;

/// What the additional length field leaves of the data.
std::span<const std::uint8_t> trim_to_length(std::span<const std::uint8_t> data) noexcept {
  if (data.size() < kHeaderLength) return data;
  return data.first(std::min<std::size_t>(data.size(), kHeaderLength + data[7]));
}

std::optional<Sense> parse_fixed(std::span<const std::uint8_t> data) noexcept {
  if (data.size() < 3) return std::nullopt;
  Sense sense;
  sense.key = static_cast<SenseKey>(data[2] & 0x0f);
  if ((data[0] & kValid) != 0 && data.size() >= 7) sense.information = load_be32(&data[3]);
  if (data.size() > 12) sense.asc = data[12];
  if (data.size() > 13) sense.ascq = data[13];
  return sense;
}

std::optional<Sense> parse_descriptors(std::span<const std::uint8_t> data) noexcept {
  if (data.size() < 2) return std::nullopt;
  Sense sense;
  sense.key = static_cast<SenseKey>(data[1] & 0x0f);
  if (data.size() > 2) sense.asc = data[2];
  if (data.size() > 3) sense.ascq = data[3];
  for (std::size_t at = kHeaderLength; at + 2 <= data.size();) {
    const std::size_t length = 2U + data[at + 1];
    if (length > data.size() - at) break;
    if (data[at] == kInformationDescriptor && length >= 12 && (data[at + 2] & kValid) != 0) {
      sense.information = load_be64(&data[at + 4]);
      break;
    }
    at += length;
  }
  return sense;
}

const char* key_name(SenseKey key) noexcept {
  static constexpr std::array<const char*, 16> kNames = {
      "NO SENSE",       "RECOVERED ERROR", "NOT READY",   "MEDIUM ERROR",    "HARDWARE ERROR", "ILLEGAL REQUEST",
      "UNIT ATTENTION", "DATA PROTECT",    "BLANK CHECK", "VENDOR SPECIFIC", "COPY ABORTED",   "ABORTED COMMAND",
      "RESERVED",       "VOLUME OVERFLOW", "MISCOMPARE",  "COMPLETED"};
  return kNames[static_cast<std::uint8_t>(key) & 0x0f];
}

struct Text {
  AdditionalSense code;
  const char* text;
};

/// Those that targets report most (SPC-5 annex F), and all that the gateway judges by.
constexpr Text kTexts[] = {
    {asc::kNotReadyCauseUnknown, "logical unit not ready, cause not reportable"},
    {asc::kBecomingReady, "logical unit is becoming ready"},
    {asc::kNeedsStart, "logical unit needs a START UNIT command"},
    {asc::kManualInterventionRequired, "logical unit not ready, manual intervention required"},
    {asc::kFormatInProgress, "logical unit not ready, format in progress"},
    {asc::kOperationInProgress, "logical unit not ready, operation in progress"},
    {asc::kSelfTestInProgress, "logical unit not ready, self-test in progress"},
    {asc::kAsymmetricAccessTransition, "asymmetric access state transition"},
    {asc::kTargetPortStandby, "target port in standby state"},
    {asc::kTargetPortUnavailable, "target port in unavailable state"},
    {asc::kNotifyEnableSpinupRequired, "logical unit not ready, enable spin-up required"},
    {asc::kSpaceAllocationInProgress, "logical unit not ready, space allocation in progress"},
    {asc::kMicrocodeInProgress, "logical unit not ready, START STOP UNIT or microcode in progress"},
    {asc::kWriteError, "write error"},
    {asc::kUnrecoveredReadError, "unrecovered read error"},
    {asc::kParameterListLengthError, "parameter list length error"},
    {asc::kMiscompare, "miscompare during verify operation"},
    {asc::kInvalidOpcode, "invalid command operation code"},
    {asc::kLbaOutOfRange, "logical block address out of range"},
    {asc::kInvalidFieldInCdb, "invalid field in CDB"},
    {asc::kLogicalUnitNotSupported, "logical unit not supported"},
    {asc::kInvalidFieldInParameterList, "invalid field in parameter list"},
    {asc::kWriteProtected, "write protected"},
    {asc::kSpaceAllocationFailed, "space allocation failed, the thin pool is full"},
    {asc::kPowerOnOrReset, "power on, reset, or bus device reset occurred"},
    {asc::kPowerOn, "power on occurred"},
    {asc::kBusReset, "bus reset occurred"},
    {asc::kDeviceReset, "device reset occurred"},
    {asc::kDeviceInternalReset, "device internal reset"},
    {asc::kNexusLoss, "I_T nexus loss occurred"},
    {asc::kModeParametersChanged, "mode parameters changed"},
    {asc::kCapacityChanged, "capacity data has changed"},
    {asc::kCommandsClearedByAnother, "commands cleared by another initiator"},
    {asc::kThinThresholdReached, "thin provisioning soft threshold reached"},
    {asc::kInvalidMessage, "invalid bits in identify message"},
    {asc::kInquiryDataChanged, "INQUIRY data has changed"},
    {asc::kReportedLunsChanged, "reported LUNs data has changed"},
    {asc::kInternalTargetFailure, "internal target failure"},
    {asc::kDataPhaseError, "data phase error"},
    {asc::kInsufficientResources, "insufficient resources"},
    {{0x03, 0x00}, "peripheral device write fault"},
    {{0x04, 0x12}, "logical unit not ready, offline"},
    {{0x08, 0x00}, "logical unit communication failure"},
    {{0x08, 0x01}, "logical unit communication time-out"},
    {{0x0c, 0x02}, "write error, auto reallocation failed"},
    {{0x0c, 0x03}, "write error, recommend reassignment"},
    {{0x10, 0x00}, "ID CRC or ECC error"},
    {{0x10, 0x01}, "logical block guard check failed"},
    {{0x11, 0x01}, "read retries exhausted"},
    {{0x11, 0x04}, "unrecovered read error, auto reallocate failed"},
    {{0x11, 0x0b}, "unrecovered read error, recommend reassignment"},
    {{0x14, 0x01}, "record not found"},
    {{0x15, 0x01}, "mechanical positioning error"},
    {{0x19, 0x00}, "defect list error"},
    {{0x20, 0x02}, "access denied, no access rights"},
    {{0x2a, 0x06}, "asymmetric access state changed"},
    {{0x31, 0x00}, "medium format corrupted"},
    {{0x32, 0x00}, "no defect spare location available"},
    {{0x3a, 0x00}, "medium not present"},
    {{0x3e, 0x01}, "logical unit failure"},
    {{0x3e, 0x02}, "timeout on logical unit"},
    {{0x47, 0x00}, "SCSI parity error"},
    {{0x47, 0x01}, "data phase CRC error detected"},
    {{0x48, 0x00}, "initiator detected error message received"},
    {{0x4e, 0x00}, "overlapped commands attempted"},
    {{0x53, 0x00}, "media load or eject failed"},
    {{0x5d, 0x00}, "failure prediction threshold exceeded"},
    {{0x65, 0x00}, "voltage fault"},
};

}  // namespace

std::optional<Sense> parse_sense(std::span<const std::uint8_t> data) noexcept {
  if (data.empty()) return std::nullopt;
  data = trim_to_length(data.first(std::min(data.size(), kMaxSenseLength)));
  const std::uint8_t response_code = data[0] & 0x7f;
  std::optional<Sense> sense;
  if (response_code == kFixedCurrent || response_code == kFixedDeferred) sense = parse_fixed(data);
  if (response_code == kDescriptorCurrent || response_code == kDescriptorDeferred) sense = parse_descriptors(data);
  if (sense) sense->deferred = response_code == kFixedDeferred || response_code == kDescriptorDeferred;
  return sense;
}

std::size_t build_fixed_sense(const Sense& sense, std::span<std::uint8_t> out) noexcept {
  NBDGW_ASSERT(out.size() >= kFixedSenseLength, "room for fixed format sense");
  std::fill_n(out.begin(), kFixedSenseLength, std::uint8_t{0});
  out[0] = sense.deferred ? kFixedDeferred : kFixedCurrent;
  out[2] = static_cast<std::uint8_t>(sense.key);
  if (sense.information && *sense.information <= 0xffffffffU) {
    out[0] |= kValid;
    store_be32(&out[3], static_cast<std::uint32_t>(*sense.information));
  }
  out[7] = kFixedSenseLength - kHeaderLength;
  out[12] = sense.asc;
  out[13] = sense.ascq;
  return kFixedSenseLength;
}

std::size_t build_descriptor_sense(const Sense& sense, std::span<std::uint8_t> out) noexcept {
  NBDGW_ASSERT(out.size() >= kMaxDescriptorSenseLength, "room for descriptor format sense");
  std::fill_n(out.begin(), kMaxDescriptorSenseLength, std::uint8_t{0});
  out[0] = sense.deferred ? kDescriptorDeferred : kDescriptorCurrent;
  out[1] = static_cast<std::uint8_t>(sense.key);
  out[2] = sense.asc;
  out[3] = sense.ascq;
  if (!sense.information) return kHeaderLength;
  out[7] = 2 + kInformationDescriptorLength;
  out[8] = kInformationDescriptor;
  out[9] = kInformationDescriptorLength;
  out[10] = kValid;
  store_be64(&out[12], *sense.information);
  return kMaxDescriptorSenseLength;
}

std::string describe(const Sense& sense) {
  std::string text = key_name(sense.key);
  for (const Text& entry : kTexts) {
    if (entry.code == sense.additional()) text.append(", ").append(entry.text);
  }
  std::array<char, 16> codes{};
  std::snprintf(codes.data(), codes.size(), " (%x/%02x/%02x)", static_cast<unsigned>(sense.key), sense.asc,
                sense.ascq);
  text += codes.data();
  if (sense.information) text += " at " + std::to_string(*sense.information);
  if (sense.deferred) text += ", deferred";
  return text;
}

std::string describe_status(std::uint8_t status) {
  switch (static_cast<Status>(status)) {
    case Status::good:
      return "GOOD";
    case Status::check_condition:
      return "CHECK CONDITION";
    case Status::condition_met:
      return "CONDITION MET";
    case Status::busy:
      return "BUSY";
    case Status::reservation_conflict:
      return "RESERVATION CONFLICT";
    case Status::task_set_full:
      return "TASK SET FULL";
    case Status::aca_active:
      return "ACA ACTIVE";
    case Status::task_aborted:
      return "TASK ABORTED";
  }
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "status %02xh", status);
  return text.data();
}

}  // namespace nbdgw::proto::scsi
