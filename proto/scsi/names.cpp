#include "proto/scsi/names.hpp"

#include <array>
#include <cstdio>
#include <string_view>

namespace nbdgw::proto::scsi {

const char* to_string(Opcode opcode) noexcept {
  switch (opcode) {
    case Opcode::test_unit_ready:
      return "TEST UNIT READY";
    case Opcode::request_sense:
      return "REQUEST SENSE";
    case Opcode::inquiry:
      return "INQUIRY";
    case Opcode::mode_sense_6:
      return "MODE SENSE(6)";
    case Opcode::start_stop_unit:
      return "START STOP UNIT";
    case Opcode::read_capacity_10:
      return "READ CAPACITY(10)";
    case Opcode::read_10:
      return "READ(10)";
    case Opcode::write_10:
      return "WRITE(10)";
    case Opcode::synchronize_cache_10:
      return "SYNCHRONIZE CACHE(10)";
    case Opcode::write_same_10:
      return "WRITE SAME(10)";
    case Opcode::unmap:
      return "UNMAP";
    case Opcode::mode_sense_10:
      return "MODE SENSE(10)";
    case Opcode::read_16:
      return "READ(16)";
    case Opcode::write_16:
      return "WRITE(16)";
    case Opcode::verify_16:
      return "VERIFY(16)";
    case Opcode::pre_fetch_16:
      return "PRE-FETCH(16)";
    case Opcode::synchronize_cache_16:
      return "SYNCHRONIZE CACHE(16)";
    case Opcode::write_same_16:
      return "WRITE SAME(16)";
    case Opcode::service_action_in_16:
      return "SERVICE ACTION IN(16)";
    case Opcode::report_luns:
      return "REPORT LUNS";
  }
  return "other";
}

std::string opcode_text(std::uint8_t opcode) {
  const std::string_view name = to_string(static_cast<Opcode>(opcode));
  if (name != "other") return std::string(name);
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "0x%02x", static_cast<unsigned>(opcode));
  return text.data();
}

const char* to_string(Status status) noexcept {
  switch (status) {
    case Status::good:
      return "good";
    case Status::check_condition:
      return "check_condition";
    case Status::condition_met:
      return "condition_met";
    case Status::busy:
      return "busy";
    case Status::reservation_conflict:
      return "reservation_conflict";
    case Status::task_set_full:
      return "task_set_full";
    case Status::aca_active:
      return "aca_active";
    case Status::task_aborted:
      return "task_aborted";
  }
  return "other";
}

const char* to_string(SenseKey key) noexcept {
  switch (key) {
    case SenseKey::no_sense:
      return "no_sense";
    case SenseKey::recovered_error:
      return "recovered_error";
    case SenseKey::not_ready:
      return "not_ready";
    case SenseKey::medium_error:
      return "medium_error";
    case SenseKey::hardware_error:
      return "hardware_error";
    case SenseKey::illegal_request:
      return "illegal_request";
    case SenseKey::unit_attention:
      return "unit_attention";
    case SenseKey::data_protect:
      return "data_protect";
    case SenseKey::blank_check:
      return "blank_check";
    case SenseKey::vendor_specific:
      return "vendor_specific";
    case SenseKey::copy_aborted:
      return "copy_aborted";
    case SenseKey::aborted_command:
      return "aborted_command";
    case SenseKey::volume_overflow:
      return "volume_overflow";
    case SenseKey::miscompare:
      return "miscompare";
    case SenseKey::completed:
      return "completed";
  }
  return "other";
}

}  // namespace nbdgw::proto::scsi
