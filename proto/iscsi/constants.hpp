#pragma once

#include <cstddef>
#include <cstdint>

/// Numbers of iSCSI (RFC 7143 section 11).
namespace nbdgw::proto::iscsi {

inline constexpr std::size_t kBhsLength = 48;
inline constexpr std::size_t kDigestLength = 4;
inline constexpr std::uint32_t kReservedTag = 0xffffffff;
inline constexpr std::uint32_t kMaxDataSegmentLength = 0xffffff;  // 24 bits on the wire
/// What a peer may send before anything was negotiated, and all that a login or discovery PDU may carry
/// (section 13.12).
inline constexpr std::uint32_t kDefaultMaxRecvDataSegmentLength = 8192;
inline constexpr std::uint8_t kAhsTypeExtendedCdb = 1;

enum class Opcode : std::uint8_t {
  nop_out = 0x00,
  scsi_command = 0x01,
  task_management_request = 0x02,
  login_request = 0x03,
  text_request = 0x04,
  data_out = 0x05,
  logout_request = 0x06,
  snack_request = 0x10,
  nop_in = 0x20,
  scsi_response = 0x21,
  task_management_response = 0x22,
  login_response = 0x23,
  text_response = 0x24,
  data_in = 0x25,
  logout_response = 0x26,
  r2t = 0x31,
  async_message = 0x32,
  reject = 0x3f,
};

/// Task management functions (section 11.5.1).
enum class TaskManagementFunction : std::uint8_t {
  abort_task = 1,
  abort_task_set = 2,
  clear_aca = 3,
  clear_task_set = 4,
  logical_unit_reset = 5,
  target_warm_reset = 6,
  target_cold_reset = 7,
  task_reassign = 8,
};

/// Task management responses (section 11.6.1).
enum class TaskManagementResult : std::uint8_t {
  complete = 0,
  task_does_not_exist = 1,
  lun_does_not_exist = 2,
  task_still_allegiant = 3,
  reassign_not_supported = 4,
  not_supported = 5,
  authorization_failed = 6,
  rejected = 255,
};

/// Login stages (section 11.12.3).
enum class LoginStage : std::uint8_t { security = 0, operational = 1, full_feature = 3 };

/// Login status: class in the upper byte, detail in the lower one (section 11.13.5).
enum class LoginStatus : std::uint16_t {
  success = 0x0000,
  redirect_temporary = 0x0101,
  redirect_permanent = 0x0102,
  initiator_error = 0x0200,
  authentication_failure = 0x0201,
  authorization_failure = 0x0202,
  not_found = 0x0203,
  target_removed = 0x0204,
  unsupported_version = 0x0205,
  too_many_connections = 0x0206,
  missing_parameter = 0x0207,
  cannot_include_in_session = 0x0208,
  session_type_not_supported = 0x0209,
  session_does_not_exist = 0x020a,
  invalid_during_login = 0x020b,
  target_error = 0x0300,
  service_unavailable = 0x0301,
  out_of_resources = 0x0302,
};

/// Logout reasons (section 11.14.1) and responses (section 11.15.1).
enum class LogoutReason : std::uint8_t { close_session = 0, close_connection = 1, remove_for_recovery = 2 };
enum class LogoutResult : std::uint8_t {
  closed = 0,
  cid_not_found = 1,
  recovery_not_supported = 2,
  cleanup_failed = 3
};

/// Asynchronous events (section 11.9.1).
enum class AsyncEvent : std::uint8_t {
  scsi = 0,
  logout_request = 1,
  drop_connection = 2,
  drop_all_connections = 3,
  negotiate = 4,
  task_termination = 5,
  vendor = 255,
};

/// Reject reasons (section 11.17.1).
enum class RejectReason : std::uint8_t {
  data_digest_error = 0x02,
  snack_reject = 0x03,
  protocol_error = 0x04,
  command_not_supported = 0x05,
  immediate_command_reject = 0x06,
  task_in_progress = 0x07,
  invalid_data_ack = 0x08,
  invalid_pdu_field = 0x09,
  long_operation_reject = 0x0a,
  negotiation_reset = 0x0b,
  waiting_for_logout = 0x0c,
};

/// SCSI response codes (section 11.4.3).
enum class ScsiResponseCode : std::uint8_t { completed_at_target = 0, target_failure = 1 };

}  // namespace nbdgw::proto::iscsi
