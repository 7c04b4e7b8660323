#include "proto/iscsi/names.hpp"

namespace nbdgw::proto::iscsi {

const char* to_string(Opcode opcode) noexcept {
  switch (opcode) {
    case Opcode::nop_out:
      return "nop_out";
    case Opcode::scsi_command:
      return "scsi_command";
    case Opcode::task_management_request:
      return "task_management_request";
    case Opcode::login_request:
      return "login_request";
    case Opcode::text_request:
      return "text_request";
    case Opcode::data_out:
      return "data_out";
    case Opcode::logout_request:
      return "logout_request";
    case Opcode::snack_request:
      return "snack_request";
    case Opcode::nop_in:
      return "nop_in";
    case Opcode::scsi_response:
      return "scsi_response";
    case Opcode::task_management_response:
      return "task_management_response";
    case Opcode::login_response:
      return "login_response";
    case Opcode::text_response:
      return "text_response";
    case Opcode::data_in:
      return "data_in";
    case Opcode::logout_response:
      return "logout_response";
    case Opcode::r2t:
      return "r2t";
    case Opcode::async_message:
      return "async_message";
    case Opcode::reject:
      return "reject";
  }
  return "other";
}

}  // namespace nbdgw::proto::iscsi
