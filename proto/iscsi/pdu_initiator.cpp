#include "proto/iscsi/fields.hpp"
#include "proto/iscsi/pdu.hpp"

#include <algorithm>

namespace nbdgw::proto::iscsi {

using namespace fields;

Prefix Prefix::decode(const Bhs& bhs) noexcept {
  return {.opcode = static_cast<std::uint8_t>(bhs[0] & 0x3f),
          .immediate = fields::immediate(bhs),
          .ahs_length = fields::ahs_length(bhs),
          .data_length = fields::data_length(bhs),
          .itt = word(bhs, 16)};
}

void ScsiCommandPdu::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::scsi_command, immediate);
  bhs[1] = static_cast<std::uint8_t>(bits(final, kFinal) | bits(read, 0x40) | bits(write, 0x20) | (attribute & 7));
  put_lengths(bhs, ahs_length, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, expected_length);
  put_word(bhs, 24, cmd_sn);
  put_word(bhs, 28, exp_stat_sn);
  std::copy(cdb.begin(), cdb.end(), bhs.begin() + 32);
}

ScsiCommandPdu ScsiCommandPdu::decode(const Bhs& bhs) noexcept {
  ScsiCommandPdu pdu{.immediate = fields::immediate(bhs),
                     .final = (bhs[1] & kFinal) != 0,
                     .read = (bhs[1] & 0x40) != 0,
                     .write = (bhs[1] & 0x20) != 0,
                     .attribute = static_cast<std::uint8_t>(bhs[1] & 7),
                     .ahs_length = fields::ahs_length(bhs),
                     .data_length = fields::data_length(bhs),
                     .lun = fields::lun(bhs),
                     .itt = word(bhs, 16),
                     .expected_length = word(bhs, 20),
                     .cmd_sn = word(bhs, 24),
                     .exp_stat_sn = word(bhs, 28)};
  std::copy_n(bhs.begin() + 32, pdu.cdb.size(), pdu.cdb.begin());
  return pdu;
}

void TaskManagementRequest::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::task_management_request, immediate);
  bhs[1] = static_cast<std::uint8_t>(kFinal | static_cast<std::uint8_t>(function));
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, referenced_task_tag);
  put_word(bhs, 24, cmd_sn);
  put_word(bhs, 28, exp_stat_sn);
  put_word(bhs, 32, ref_cmd_sn);
  put_word(bhs, 36, exp_data_sn);
}

TaskManagementRequest TaskManagementRequest::decode(const Bhs& bhs) noexcept {
  return {.immediate = fields::immediate(bhs),
          .function = static_cast<TaskManagementFunction>(bhs[1] & 0x7f),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .referenced_task_tag = word(bhs, 20),
          .cmd_sn = word(bhs, 24),
          .exp_stat_sn = word(bhs, 28),
          .ref_cmd_sn = word(bhs, 32),
          .exp_data_sn = word(bhs, 36)};
}

void DataOut::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::data_out);
  bhs[1] = bits(final, kFinal);
  put_lengths(bhs, 0, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_word(bhs, 28, exp_stat_sn);
  put_word(bhs, 36, data_sn);
  put_word(bhs, 40, buffer_offset);
}

DataOut DataOut::decode(const Bhs& bhs) noexcept {
  return {.final = (bhs[1] & kFinal) != 0,
          .data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .exp_stat_sn = word(bhs, 28),
          .data_sn = word(bhs, 36),
          .buffer_offset = word(bhs, 40)};
}

void TextRequest::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::text_request, immediate);
  bhs[1] = static_cast<std::uint8_t>(bits(final, kFinal) | bits(continues, kContinue));
  put_lengths(bhs, 0, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_word(bhs, 24, cmd_sn);
  put_word(bhs, 28, exp_stat_sn);
}

TextRequest TextRequest::decode(const Bhs& bhs) noexcept {
  return {.immediate = fields::immediate(bhs),
          .final = (bhs[1] & kFinal) != 0,
          .continues = (bhs[1] & kContinue) != 0,
          .data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .cmd_sn = word(bhs, 24),
          .exp_stat_sn = word(bhs, 28)};
}

void LoginRequest::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::login_request, true);
  bhs[1] = static_cast<std::uint8_t>(bits(transit, kFinal) | bits(continues, kContinue) |
                                     (static_cast<std::uint8_t>(current_stage) << 2) |
                                     static_cast<std::uint8_t>(next_stage));
  bhs[2] = version_max;
  bhs[3] = version_min;
  put_lengths(bhs, 0, data_length);
  std::copy(isid.begin(), isid.end(), bhs.begin() + 8);
  store_be16(&bhs[14], tsih);
  put_word(bhs, 16, itt);
  store_be16(&bhs[20], cid);
  put_word(bhs, 24, cmd_sn);
  put_word(bhs, 28, exp_stat_sn);
}

LoginRequest LoginRequest::decode(const Bhs& bhs) noexcept {
  LoginRequest pdu{.transit = (bhs[1] & kFinal) != 0,
                   .continues = (bhs[1] & kContinue) != 0,
                   .current_stage = static_cast<LoginStage>((bhs[1] >> 2) & 3),
                   .next_stage = static_cast<LoginStage>(bhs[1] & 3),
                   .version_max = bhs[2],
                   .version_min = bhs[3],
                   .data_length = fields::data_length(bhs),
                   .tsih = load_be16(&bhs[14]),
                   .itt = word(bhs, 16),
                   .cid = load_be16(&bhs[20]),
                   .cmd_sn = word(bhs, 24),
                   .exp_stat_sn = word(bhs, 28)};
  std::copy_n(bhs.begin() + 8, pdu.isid.size(), pdu.isid.begin());
  return pdu;
}

void LogoutRequest::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::logout_request, immediate);
  bhs[1] = static_cast<std::uint8_t>(kFinal | static_cast<std::uint8_t>(reason));
  put_word(bhs, 16, itt);
  store_be16(&bhs[20], cid);
  put_word(bhs, 24, cmd_sn);
  put_word(bhs, 28, exp_stat_sn);
}

LogoutRequest LogoutRequest::decode(const Bhs& bhs) noexcept {
  return {.immediate = fields::immediate(bhs),
          .reason = static_cast<LogoutReason>(bhs[1] & 0x7f),
          .itt = word(bhs, 16),
          .cid = load_be16(&bhs[20]),
          .cmd_sn = word(bhs, 24),
          .exp_stat_sn = word(bhs, 28)};
}

void SnackRequest::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::snack_request);
  bhs[1] = static_cast<std::uint8_t>(kFinal | (type & 0x0f));
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_word(bhs, 28, exp_stat_sn);
  put_word(bhs, 40, begin_run);
  put_word(bhs, 44, run_length);
}

SnackRequest SnackRequest::decode(const Bhs& bhs) noexcept {
  return {.type = static_cast<std::uint8_t>(bhs[1] & 0x0f),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .exp_stat_sn = word(bhs, 28),
          .begin_run = word(bhs, 40),
          .run_length = word(bhs, 44)};
}

void NopOut::encode(Bhs& bhs) const noexcept {
  begin(bhs, Opcode::nop_out, immediate);
  bhs[1] = kFinal;
  put_lengths(bhs, 0, data_length);
  put_lun(bhs, lun);
  put_word(bhs, 16, itt);
  put_word(bhs, 20, ttt);
  put_word(bhs, 24, cmd_sn);
  put_word(bhs, 28, exp_stat_sn);
}

NopOut NopOut::decode(const Bhs& bhs) noexcept {
  return {.immediate = fields::immediate(bhs),
          .data_length = fields::data_length(bhs),
          .lun = fields::lun(bhs),
          .itt = word(bhs, 16),
          .ttt = word(bhs, 20),
          .cmd_sn = word(bhs, 24),
          .exp_stat_sn = word(bhs, 28)};
}

}  // namespace nbdgw::proto::iscsi
