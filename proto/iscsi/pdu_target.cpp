#include "proto/iscsi/fields.hpp"
#include "proto/iscsi/pdu.hpp"

#include <algorithm>

namespace nbdgw::proto::iscsi {

using namespace fields;

namespace {

constexpr std::uint8_t kOverflow = 0x04;
constexpr std::uint8_t kUnderflow = 0x02;

}  // namespace

void ScsiResponse::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::scsi_response);
  bhs[1] = static_cast<std::uint8_t>(kFinal | bits(bidi_overflow, 0x10) | bits(bidi_underflow, 0x08) |
                                     bits(status.overflow, kOverflow) | bits(status.underflow, kUnderflow));
  bhs[2] = static_cast<std::uint8_t>(response);
  bhs[3] = status.status;
  put_lengths(bhs, ahs_length, data_length);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, snack_tag);
  put_sequence(bhs, sequence);
  put_word(bhs, 36, exp_data_sn);
  put_word(bhs, 40, bidi_residual_count);
  put_word(bhs, 44, status.residual_count);
}

ScsiResponse ScsiResponse::decode(const Bhs& bhs) noexcept {
  return {.response = static_cast<ScsiResponseCode>(bhs[2]),
          .status = {.status = bhs[3],
                     .underflow = (bhs[1] & kUnderflow) != 0,
                     .overflow = (bhs[1] & kOverflow) != 0,
                     .residual_count = word(bhs, 44)},
          .bidi_underflow = (bhs[1] & 0x08) != 0,
          .bidi_overflow = (bhs[1] & 0x10) != 0,
          .bidi_residual_count = word(bhs, 40),
          .ahs_length = fields::ahs_length(bhs),
          .data_length = fields::data_length(bhs),
          .itt = word(bhs, 16),
          .snack_tag = word(bhs, 20),
          .sequence = fields::sequence(bhs),
          .exp_data_sn = word(bhs, 36)};
}

void TaskManagementResponse::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::task_management_response);
  bhs[1] = kFinal;
  bhs[2] = static_cast<std::uint8_t>(response);
  put_word(bhs, 16, itt);
  put_sequence(bhs, sequence);
}

TaskManagementResponse TaskManagementResponse::decode(const Bhs& bhs) noexcept {
  return {
      .response = static_cast<TaskManagementResult>(bhs[2]), .itt = word(bhs, 16), .sequence = fields::sequence(bhs)};
}

void DataIn::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::data_in);
  bhs[1] =
      static_cast<std::uint8_t>(bits(final, kFinal) | bits(acknowledge, 0x40) | bits(status.overflow, kOverflow) |
                                bits(status.underflow, kUnderflow) | bits(has_status, 0x01));
  bhs[3] = has_status ? status.status : std::uint8_t{0};
  put_lengths(bhs, 0, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_sequence(bhs, sequence);
  put_word(bhs, 36, data_sn);
  put_word(bhs, 40, buffer_offset);
  put_word(bhs, 44, status.residual_count);
}

DataIn DataIn::decode(const Bhs& bhs) noexcept {
  return {.final = (bhs[1] & kFinal) != 0,
          .acknowledge = (bhs[1] & 0x40) != 0,
          .has_status = (bhs[1] & 0x01) != 0,
          .status = {.status = bhs[3],
                     .underflow = (bhs[1] & kUnderflow) != 0,
                     .overflow = (bhs[1] & kOverflow) != 0,
                     .residual_count = word(bhs, 44)},
          .data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .sequence = fields::sequence(bhs),
          .data_sn = word(bhs, 36),
          .buffer_offset = word(bhs, 40)};
}

void R2t::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::r2t);
  bhs[1] = kFinal;
  put_lengths(bhs, ahs_length, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_sequence(bhs, sequence);
  put_word(bhs, 36, r2t_sn);
  put_word(bhs, 40, buffer_offset);
  put_word(bhs, 44, desired_length);
}

R2t R2t::decode(const Bhs& bhs) noexcept {
  return {.ahs_length = fields::ahs_length(bhs),
          .data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .sequence = fields::sequence(bhs),
          .r2t_sn = word(bhs, 36),
          .buffer_offset = word(bhs, 40),
          .desired_length = word(bhs, 44)};
}

void AsyncMessage::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::async_message);
  bhs[1] = kFinal;
  put_lengths(bhs, 0, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, kReservedTag);
  put_sequence(bhs, sequence);
  bhs[36] = static_cast<std::uint8_t>(event);
  bhs[37] = vendor_code;
  store_be16(&bhs[38], parameter1);
  store_be16(&bhs[40], parameter2);
  store_be16(&bhs[42], parameter3);
}

AsyncMessage AsyncMessage::decode(const Bhs& bhs) noexcept {
  return {.data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .sequence = fields::sequence(bhs),
          .event = static_cast<AsyncEvent>(bhs[36]),
          .vendor_code = bhs[37],
          .parameter1 = load_be16(&bhs[38]),
          .parameter2 = load_be16(&bhs[40]),
          .parameter3 = load_be16(&bhs[42])};
}

void TextResponse::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::text_response);
  bhs[1] = static_cast<std::uint8_t>(bits(final, kFinal) | bits(continues, kContinue));
  put_lengths(bhs, 0, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_sequence(bhs, sequence);
}

TextResponse TextResponse::decode(const Bhs& bhs) noexcept {
  return {.final = (bhs[1] & kFinal) != 0,
          .continues = (bhs[1] & kContinue) != 0,
          .data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .sequence = fields::sequence(bhs)};
}

void LoginResponse::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::login_response);
  bhs[1] = static_cast<std::uint8_t>(bits(transit, kFinal) | bits(continues, kContinue) |
                                     (static_cast<std::uint8_t>(current_stage) << 2) |
                                     static_cast<std::uint8_t>(next_stage));
  bhs[2] = version_max;
  bhs[3] = version_active;
  put_lengths(bhs, 0, data_length);
  std::copy(isid.begin(), isid.end(), bhs.begin() + 8);
  store_be16(&bhs[14], tsih);
  put_word(bhs, 16, itt);
  put_sequence(bhs, sequence);
  store_be16(&bhs[36], static_cast<std::uint16_t>(status));
}

LoginResponse LoginResponse::decode(const Bhs& bhs) noexcept {
  LoginResponse pdu{.transit = (bhs[1] & kFinal) != 0,
                    .continues = (bhs[1] & kContinue) != 0,
                    .current_stage = static_cast<LoginStage>((bhs[1] >> 2) & 3),
                    .next_stage = static_cast<LoginStage>(bhs[1] & 3),
                    .version_max = bhs[2],
                    .version_active = bhs[3],
                    .data_length = fields::data_length(bhs),
                    .tsih = load_be16(&bhs[14]),
                    .itt = word(bhs, 16),
                    .sequence = fields::sequence(bhs),
                    .status = static_cast<LoginStatus>(load_be16(&bhs[36]))};
  std::copy_n(bhs.begin() + 8, pdu.isid.size(), pdu.isid.begin());
  return pdu;
}

void LogoutResponse::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::logout_response);
  bhs[1] = kFinal;
  bhs[2] = static_cast<std::uint8_t>(response);
  put_word(bhs, 16, itt);
  put_sequence(bhs, sequence);
  store_be16(&bhs[40], time2wait);
  store_be16(&bhs[42], time2retain);
}

LogoutResponse LogoutResponse::decode(const Bhs& bhs) noexcept {
  return {.response = static_cast<LogoutResult>(bhs[2]),
          .itt = word(bhs, 16),
          .sequence = fields::sequence(bhs),
          .time2wait = load_be16(&bhs[40]),
          .time2retain = load_be16(&bhs[42])};
}

void Reject::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::reject);
  bhs[1] = kFinal;
  bhs[2] = static_cast<std::uint8_t>(reason);
  put_lengths(bhs, 0, data_length);
  put_word(bhs, 16, kReservedTag);
  put_sequence(bhs, sequence);
  put_word(bhs, 36, data_sn);
}

Reject Reject::decode(const Bhs& bhs) noexcept {
  return {.reason = static_cast<RejectReason>(bhs[2]),
          .data_length = fields::data_length(bhs),
          .sequence = fields::sequence(bhs),
          .data_sn = word(bhs, 36)};
}

void NopIn::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::nop_in);
  bhs[1] = kFinal;
  put_lengths(bhs, 0, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_sequence(bhs, sequence);
}

NopIn NopIn::decode(const Bhs& bhs) noexcept {
  return {.data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .sequence = fields::sequence(bhs)};
}

}  // namespace nbdgw::proto::iscsi
