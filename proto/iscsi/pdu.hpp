#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "proto/iscsi/constants.hpp"

/// The basic header segments of all PDUs, both ways (RFC 7143 section 11). Each struct holds the fields in host
/// order; encode() writes all 48 bytes (reserved ones as zero), decode() reads them without judging: what a field's
/// value may be is the engine's business. Lengths of the segments behind the header are part of every struct.
namespace nbdgw::proto::iscsi {

using Bhs = std::array<std::uint8_t, kBhsLength>;
using Isid = std::array<std::uint8_t, 6>;

/// What every header tells before its opcode is looked at (section 11.2.1).
struct Prefix {
  std::uint8_t opcode = 0;  // 6 bits, may be one that we do not know
  bool immediate = false;
  std::uint32_t ahs_length = 0;      // bytes (TotalAHSLength counts words)
  std::uint32_t data_length = 0;     // DataSegmentLength, bytes without padding
  std::uint32_t itt = kReservedTag;  // Initiator Task Tag

  static Prefix decode(const Bhs& bhs) noexcept;
};

/// Bytes of padding behind a data segment or AHS of this length: to the next multiple of four.
constexpr std::uint32_t padding(std::uint32_t length) noexcept {
  return (4 - (length & 3)) & 3;
}

/// Status and residual, common to SCSI Response and to a Data-In with the S bit (sections 11.4, 11.7).
struct StatusFields {
  std::uint8_t status = 0;
  bool underflow = false;
  bool overflow = false;
  std::uint32_t residual_count = 0;
};

/// The numbers every PDU from the target carries.
struct TargetSequence {
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
};

// ---- from the initiator
// ---------------------------------------------------------------------------------------------

struct ScsiCommandPdu {  // 11.3
  bool immediate = false;
  bool final = true;
  bool read = false;
  bool write = false;
  std::uint8_t attribute = 1;  // 1 = SIMPLE
  std::uint32_t ahs_length = 0;
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t expected_length = 0;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  std::array<std::uint8_t, 16> cdb{};

  void encode(Bhs& bhs) const noexcept;
  static ScsiCommandPdu decode(const Bhs& bhs) noexcept;
};

struct TaskManagementRequest {  // 11.5
  bool immediate = true;
  TaskManagementFunction function{};
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t referenced_task_tag = kReservedTag;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  std::uint32_t ref_cmd_sn = 0;
  std::uint32_t exp_data_sn = 0;

  void encode(Bhs& bhs) const noexcept;
  static TaskManagementRequest decode(const Bhs& bhs) noexcept;
};

struct DataOut {  // 11.7
  bool final = false;
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t ttt = kReservedTag;
  std::uint32_t exp_stat_sn = 0;
  std::uint32_t data_sn = 0;
  std::uint32_t buffer_offset = 0;

  void encode(Bhs& bhs) const noexcept;
  static DataOut decode(const Bhs& bhs) noexcept;
};

struct TextRequest {  // 11.10
  bool immediate = false;
  bool final = true;
  bool continues = false;
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t ttt = kReservedTag;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;

  void encode(Bhs& bhs) const noexcept;
  static TextRequest decode(const Bhs& bhs) noexcept;
};

struct LoginRequest {  // 11.12
  bool transit = false;
  bool continues = false;
  LoginStage current_stage = LoginStage::security;
  LoginStage next_stage = LoginStage::security;
  std::uint8_t version_max = 0;
  std::uint8_t version_min = 0;
  std::uint32_t data_length = 0;
  Isid isid{};
  std::uint16_t tsih = 0;
  std::uint32_t itt = 0;
  std::uint16_t cid = 0;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;

  void encode(Bhs& bhs) const noexcept;
  static LoginRequest decode(const Bhs& bhs) noexcept;
};

struct LogoutRequest {  // 11.14
  bool immediate = true;
  LogoutReason reason{};
  std::uint32_t itt = 0;
  std::uint16_t cid = 0;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;

  void encode(Bhs& bhs) const noexcept;
  static LogoutRequest decode(const Bhs& bhs) noexcept;
};

struct SnackRequest {  // 11.16
  std::uint8_t type = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t ttt = kReservedTag;
  std::uint32_t exp_stat_sn = 0;
  std::uint32_t begin_run = 0;
  std::uint32_t run_length = 0;

  void encode(Bhs& bhs) const noexcept;
  static SnackRequest decode(const Bhs& bhs) noexcept;
};

struct NopOut {  // 11.18
  bool immediate = true;
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = kReservedTag;
  std::uint32_t ttt = kReservedTag;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;

  void encode(Bhs& bhs) const noexcept;
  static NopOut decode(const Bhs& bhs) noexcept;
};

// ---- from the target
// ------------------------------------------------------------------------------------------------

struct ScsiResponse {  // 11.4
  ScsiResponseCode response{};
  StatusFields status{};
  bool bidi_underflow = false;
  bool bidi_overflow = false;
  std::uint32_t bidi_residual_count = 0;
  std::uint32_t ahs_length = 0;
  std::uint32_t data_length = 0;
  std::uint32_t itt = 0;
  std::uint32_t snack_tag = 0;
  TargetSequence sequence{};
  std::uint32_t exp_data_sn = 0;

  void encode(Bhs& bhs) const noexcept;
  static ScsiResponse decode(const Bhs& bhs) noexcept;
};

struct TaskManagementResponse {  // 11.6
  TaskManagementResult response{};
  std::uint32_t itt = 0;
  TargetSequence sequence{};

  void encode(Bhs& bhs) const noexcept;
  static TaskManagementResponse decode(const Bhs& bhs) noexcept;
};

struct DataIn {  // 11.7
  bool final = false;
  bool acknowledge = false;
  bool has_status = false;
  StatusFields status{};
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t ttt = kReservedTag;
  TargetSequence sequence{};  // stat_sn only with has_status
  std::uint32_t data_sn = 0;
  std::uint32_t buffer_offset = 0;

  void encode(Bhs& bhs) const noexcept;
  static DataIn decode(const Bhs& bhs) noexcept;
};

struct R2t {  // 11.8
  std::uint32_t ahs_length = 0;
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t ttt = 0;
  TargetSequence sequence{};  // stat_sn: the next one to come, not consumed
  std::uint32_t r2t_sn = 0;
  std::uint32_t buffer_offset = 0;
  std::uint32_t desired_length = 0;

  void encode(Bhs& bhs) const noexcept;
  static R2t decode(const Bhs& bhs) noexcept;
};

struct AsyncMessage {  // 11.9
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  TargetSequence sequence{};
  AsyncEvent event{};
  std::uint8_t vendor_code = 0;
  std::uint16_t parameter1 = 0;
  std::uint16_t parameter2 = 0;
  std::uint16_t parameter3 = 0;

  void encode(Bhs& bhs) const noexcept;
  static AsyncMessage decode(const Bhs& bhs) noexcept;
};

struct TextResponse {  // 11.11
  bool final = true;
  bool continues = false;
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = 0;
  std::uint32_t ttt = kReservedTag;
  TargetSequence sequence{};

  void encode(Bhs& bhs) const noexcept;
  static TextResponse decode(const Bhs& bhs) noexcept;
};

struct LoginResponse {  // 11.13
  bool transit = false;
  bool continues = false;
  LoginStage current_stage = LoginStage::security;
  LoginStage next_stage = LoginStage::security;
  std::uint8_t version_max = 0;
  std::uint8_t version_active = 0;
  std::uint32_t data_length = 0;
  Isid isid{};
  std::uint16_t tsih = 0;
  std::uint32_t itt = 0;
  TargetSequence sequence{};
  LoginStatus status{};

  void encode(Bhs& bhs) const noexcept;
  static LoginResponse decode(const Bhs& bhs) noexcept;
};

struct LogoutResponse {  // 11.15
  LogoutResult response{};
  std::uint32_t itt = 0;
  TargetSequence sequence{};
  std::uint16_t time2wait = 0;    // seconds
  std::uint16_t time2retain = 0;  // seconds

  void encode(Bhs& bhs) const noexcept;
  static LogoutResponse decode(const Bhs& bhs) noexcept;
};

struct Reject {  // 11.17
  RejectReason reason{};
  std::uint32_t data_length = 0;
  TargetSequence sequence{};
  std::uint32_t data_sn = 0;

  void encode(Bhs& bhs) const noexcept;
  static Reject decode(const Bhs& bhs) noexcept;
};

struct NopIn {  // 11.19
  std::uint32_t data_length = 0;
  std::uint64_t lun = 0;
  std::uint32_t itt = kReservedTag;
  std::uint32_t ttt = kReservedTag;
  TargetSequence sequence{};

  void encode(Bhs& bhs) const noexcept;
  static NopIn decode(const Bhs& bhs) noexcept;
};

}  // namespace nbdgw::proto::iscsi
