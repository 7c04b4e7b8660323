// What a task management function holds back (iscsi_check_tmf_restrictions).
#include "gateway/initiator/tmf.hpp"

#include "proto/mutant.hpp"

namespace nbdgw::initiator {

using proto::iscsi::Opcode;
using proto::iscsi::TaskManagementFunction;

const char* to_string(TmfState state) noexcept {
  switch (state) {
    case TmfState::initial:
      return "initial";
    case TmfState::queued:
      return "queued";
    case TmfState::success:
      return "success";
    case TmfState::failed:
      return "failed";
    case TmfState::timedout:
      return "timedout";
    case TmfState::not_found:
      return "not_found";
  }
  return "?";
}

bool check_tmf_restrictions(const TaskManagement& tmf, bool withhold, Opcode about_to_be_sent, std::uint64_t lun,
                            std::uint32_t itt) noexcept {
  if (tmf.state == TmfState::initial) return true;
  const bool data = about_to_be_sent == Opcode::data_out;
  switch (tmf.function) {
    case TaskManagementFunction::abort_task:
      // Whatever is asked for: a target that has answered "task does not exist" may still execute the write once it
      // has its data.
      return !(data && itt == tmf.referenced_itt) || NBDGW_MUTANT(aborted_task_gets_data);
    case TaskManagementFunction::logical_unit_reset:
    case TaskManagementFunction::abort_task_set:
    case TaskManagementFunction::clear_task_set:
      if (lun != tmf.lun) return true;
      return data && !withhold;
    case TaskManagementFunction::target_warm_reset:
    case TaskManagementFunction::target_cold_reset:
      return data && !withhold;
    default:
      return true;
  }
}

}  // namespace nbdgw::initiator
