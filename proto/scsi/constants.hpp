#pragma once

#include <cstddef>
#include <cstdint>

/// Numbers of SCSI (SAM-5, SPC-5, SBC-4).
namespace nbdgw::proto::scsi {

/// Operation codes (SPC-5 annex, SBC-4 table 32): those that the gateway sends or the embedded target knows.
enum class Opcode : std::uint8_t {
  test_unit_ready = 0x00,
  request_sense = 0x03,
  inquiry = 0x12,
  mode_sense_6 = 0x1a,
  start_stop_unit = 0x1b,
  read_capacity_10 = 0x25,
  read_10 = 0x28,
  write_10 = 0x2a,
  synchronize_cache_10 = 0x35,
  write_same_10 = 0x41,
  unmap = 0x42,
  mode_sense_10 = 0x5a,
  read_16 = 0x88,
  write_16 = 0x8a,
  verify_16 = 0x8f,
  pre_fetch_16 = 0x90,
  synchronize_cache_16 = 0x91,
  write_same_16 = 0x93,
  service_action_in_16 = 0x9e,  // see ServiceActionIn16
  report_luns = 0xa0,
};

/// Service actions of SERVICE ACTION IN(16), in the low five bits of CDB byte 1.
enum class ServiceActionIn16 : std::uint8_t { read_capacity_16 = 0x10, get_lba_status = 0x12 };

/// Length in bytes of a CDB, told by the group code in its first byte (SPC-5 4.2.5.1); 0 for variable-length and
/// vendor-specific groups, whose length the first byte does not tell.
constexpr std::size_t cdb_length(std::uint8_t opcode) noexcept {
  switch (opcode >> 5) {
    case 0:
      return 6;
    case 1:
    case 2:
      return 10;
    case 4:
      return 16;
    case 5:
      return 12;
    default:
      return 0;
  }
}

/// Status codes (SAM-5 5.3.1).
enum class Status : std::uint8_t {
  good = 0x00,
  check_condition = 0x02,
  condition_met = 0x04,  // PRE-FETCH: a success
  busy = 0x08,
  reservation_conflict = 0x18,
  task_set_full = 0x28,
  aca_active = 0x30,
  task_aborted = 0x40,
};

/// Sense keys (SPC-5 4.5.6).
enum class SenseKey : std::uint8_t {
  no_sense = 0x0,
  recovered_error = 0x1,
  not_ready = 0x2,
  medium_error = 0x3,
  hardware_error = 0x4,
  illegal_request = 0x5,
  unit_attention = 0x6,
  data_protect = 0x7,
  blank_check = 0x8,
  vendor_specific = 0x9,
  copy_aborted = 0xa,
  aborted_command = 0xb,
  volume_overflow = 0xd,
  miscompare = 0xe,
  completed = 0xf,
};

/// An additional sense code with its qualifier (SPC-5 annex F).
struct AdditionalSense {
  std::uint8_t asc = 0;
  std::uint8_t ascq = 0;
  friend bool operator==(const AdditionalSense&, const AdditionalSense&) = default;
};

namespace asc {
inline constexpr AdditionalSense kNone{0x00, 0x00};
inline constexpr std::uint8_t kNotReady = 0x04;  // any qualifier: LOGICAL UNIT NOT READY
inline constexpr AdditionalSense kNotReadyCauseUnknown{0x04, 0x00};
inline constexpr AdditionalSense kBecomingReady{0x04, 0x01};
inline constexpr AdditionalSense kNeedsStart{0x04, 0x02};
inline constexpr AdditionalSense kManualInterventionRequired{0x04, 0x03};
inline constexpr AdditionalSense kFormatInProgress{0x04, 0x04};
inline constexpr AdditionalSense kOperationInProgress{0x04, 0x07};
inline constexpr AdditionalSense kSelfTestInProgress{0x04, 0x09};
inline constexpr AdditionalSense kAsymmetricAccessTransition{0x04, 0x0a};
inline constexpr AdditionalSense kTargetPortStandby{0x04, 0x0b};
inline constexpr AdditionalSense kTargetPortUnavailable{0x04, 0x0c};
inline constexpr AdditionalSense kNotifyEnableSpinupRequired{0x04, 0x11};
inline constexpr AdditionalSense kSpaceAllocationInProgress{0x04, 0x14};
inline constexpr AdditionalSense kMicrocodeInProgress{0x04, 0x1a};
inline constexpr AdditionalSense kWriteError{0x0c, 0x00};
inline constexpr AdditionalSense kUnrecoveredReadError{0x11, 0x00};
inline constexpr AdditionalSense kParameterListLengthError{0x1a, 0x00};
inline constexpr AdditionalSense kMiscompare{0x1d, 0x00};
inline constexpr AdditionalSense kInvalidOpcode{0x20, 0x00};
inline constexpr AdditionalSense kLbaOutOfRange{0x21, 0x00};
inline constexpr AdditionalSense kInvalidFieldInCdb{0x24, 0x00};
inline constexpr AdditionalSense kLogicalUnitNotSupported{0x25, 0x00};
inline constexpr AdditionalSense kInvalidFieldInParameterList{0x26, 0x00};
inline constexpr std::uint8_t kWriteProtect = 0x27;  // any qualifier, but 07 is an exhausted pool
inline constexpr AdditionalSense kWriteProtected{0x27, 0x00};
inline constexpr AdditionalSense kSpaceAllocationFailed{0x27, 0x07};
inline constexpr std::uint8_t kNotReadyToReady = 0x28;  // any qualifier: medium may have changed
inline constexpr std::uint8_t kReset = 0x29;            // any qualifier: power on, reset, nexus loss
inline constexpr AdditionalSense kPowerOnOrReset{0x29, 0x00};
inline constexpr AdditionalSense kPowerOn{0x29, 0x01};
inline constexpr AdditionalSense kBusReset{0x29, 0x02};
inline constexpr AdditionalSense kDeviceReset{0x29, 0x03};
inline constexpr AdditionalSense kDeviceInternalReset{0x29, 0x04};
inline constexpr AdditionalSense kNexusLoss{0x29, 0x07};
inline constexpr AdditionalSense kModeParametersChanged{0x2a, 0x01};
inline constexpr AdditionalSense kCapacityChanged{0x2a, 0x09};
inline constexpr AdditionalSense kCommandsClearedByAnother{0x2f, 0x00};
inline constexpr AdditionalSense kThinThresholdReached{0x38, 0x07};
inline constexpr AdditionalSense kInvalidMessage{0x3d, 0x00};
inline constexpr AdditionalSense kInquiryDataChanged{0x3f, 0x03};
inline constexpr AdditionalSense kReportedLunsChanged{0x3f, 0x0e};
inline constexpr AdditionalSense kInternalTargetFailure{0x44, 0x00};
inline constexpr AdditionalSense kDataPhaseError{0x4b, 0x00};
inline constexpr AdditionalSense kInsufficientResources{0x55, 0x03};
}  // namespace asc

/// Peripheral qualifiers and device types of byte 0 of INQUIRY data (SPC-5 6.7.2).
namespace peripheral {
inline constexpr std::uint8_t kConnected = 0;     // qualifier: a logical unit is there
inline constexpr std::uint8_t kNotConnected = 1;  // qualifier: could be there, is not
inline constexpr std::uint8_t kNotSupported = 3;  // qualifier: never can be there
inline constexpr std::uint8_t kDirectAccess = 0x00;
inline constexpr std::uint8_t kStorageArrayController = 0x0c;  // tgtd shows one at LUN 0
inline constexpr std::uint8_t kSimplifiedDirectAccess = 0x0e;  // RBC: another command set
inline constexpr std::uint8_t kUnknown = 0x1f;
}  // namespace peripheral

/// VPD page codes (SPC-5 7.7, SBC-4 6.6).
namespace vpd {
inline constexpr std::uint8_t kSupportedPages = 0x00;
inline constexpr std::uint8_t kUnitSerialNumber = 0x80;
inline constexpr std::uint8_t kDeviceIdentification = 0x83;
inline constexpr std::uint8_t kBlockLimits = 0xb0;
inline constexpr std::uint8_t kBlockDeviceCharacteristics = 0xb1;
inline constexpr std::uint8_t kLogicalBlockProvisioning = 0xb2;
}  // namespace vpd

/// Mode pages (SPC-5 7.5, SBC-4 6.5).
namespace mode_page {
inline constexpr std::uint8_t kCaching = 0x08;
inline constexpr std::uint8_t kAll = 0x3f;
}  // namespace mode_page

}  // namespace nbdgw::proto::scsi
