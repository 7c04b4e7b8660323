#include "gateway/initiator/proof.hpp"

#include "gateway/initiator/scsi_command.hpp"

namespace nbdgw::initiator {
namespace {

using proto::iscsi::TaskManagementFunction;

const char* name_of(TaskManagementFunction function) noexcept {
  switch (function) {
    case TaskManagementFunction::abort_task:
      return "ABORT TASK";
    case TaskManagementFunction::abort_task_set:
      return "ABORT TASK SET";
    case TaskManagementFunction::clear_aca:
      return "CLEAR ACA";
    case TaskManagementFunction::clear_task_set:
      return "CLEAR TASK SET";
    case TaskManagementFunction::logical_unit_reset:
      return "LOGICAL UNIT RESET";
    case TaskManagementFunction::target_warm_reset:
      return "TARGET WARM RESET";
    case TaskManagementFunction::target_cold_reset:
      return "TARGET COLD RESET";
    case TaskManagementFunction::task_reassign:
      return "TASK REASSIGN";
  }
  return "a function";
}

std::string in_group(std::int32_t group) {
  return group == Proof::kNoGroup ? "at the same portal" : "in portal group " + std::to_string(group);
}

std::string with_group(std::int32_t group) {
  return group == Proof::kNoGroup ? "through another portal" : "through portal group " + std::to_string(group);
}

}  // namespace

const char* to_string(Proof::Kind kind) noexcept {
  switch (kind) {
    case Proof::Kind::answered:
      return "answered";
    case Proof::Kind::never_sent:
      return "never_sent";
    case Proof::Kind::harmless:
      return "harmless";
    case Proof::Kind::task_management:
      return "task_management";
    case Proof::Kind::reinstated:
      return "reinstated";
    case Proof::Kind::reinstated_and_reset:
      return "reinstated_and_reset";
    case Proof::Kind::reinstated_trusted:
      return "reinstated_trusted";
    case Proof::Kind::reset_elsewhere:
      return "reset_elsewhere";
    case Proof::Kind::elsewhere_trusted:
      return "elsewhere_trusted";
  }
  return "?";
}

std::string Proof::text() const {
  switch (kind_) {
    case Kind::answered:
      return "the target answered the command";
    case Kind::never_sent:
      return "the command was never sent";
    case Kind::harmless:
      return "the command writes nothing";
    case Kind::task_management:
      return std::string(name_of(function_)) + " completed" +
             (round_ != 0 ? ", behind NOP round " + std::to_string(round_) : "");
    case Kind::reinstated:
      return "session reinstated " + in_group(group_) + ", before all data was sent";
    case Kind::reinstated_and_reset:
      return "session reinstated " + in_group(group_) + ", and " + name_of(function_) + " completed";
    case Kind::reinstated_trusted:
      return "session reinstated " + in_group(group_) + ", trusted without a reset";
    case Kind::reset_elsewhere:
      return std::string(name_of(function_)) + " completed " + with_group(group_) +
             ", over commands that the old session had acknowledged";
    case Kind::elsewhere_trusted:
      return "logged in " + with_group(group_) + ", trusted without a proof";
  }
  return "?";
}

bool writes_nothing(const ScsiCommand& command) noexcept {
  if (command.direction == Direction::write || command.cdb_length == 0) return false;
  switch (command.cdb[0]) {
    case 0x00:  // TEST UNIT READY
    case 0x03:  // REQUEST SENSE
    case 0x08:  // READ(6)
    case 0x12:  // INQUIRY
    case 0x1a:  // MODE SENSE(6)
    case 0x25:  // READ CAPACITY(10)
    case 0x28:  // READ(10)
    case 0x34:  // PRE-FETCH(10)
    case 0x35:  // SYNCHRONIZE CACHE(10): what it hardens was written before
    case 0x4d:  // LOG SENSE
    case 0x5a:  // MODE SENSE(10)
    case 0x5e:  // PERSISTENT RESERVE IN
    case 0x88:  // READ(16)
    case 0x90:  // PRE-FETCH(16)
    case 0x91:  // SYNCHRONIZE CACHE(16)
    case 0x9e:  // SERVICE ACTION IN(16): READ CAPACITY(16), GET LBA STATUS
    case 0xa0:  // REPORT LUNS
    case 0xa3:  // MAINTENANCE IN
    case 0xa8:  // READ(12)
      return true;
    default:
      return false;
  }
}

}  // namespace nbdgw::initiator
