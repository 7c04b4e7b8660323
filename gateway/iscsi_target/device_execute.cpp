#include <algorithm>

#include "gateway/iscsi_target/device_server.hpp"
#include "gateway/iscsi_target/medium_limits.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/iovecs.hpp"

namespace nbdgw::iscsi_target {

namespace scsi = proto::scsi;

scsi::Sense make_sense(scsi::SenseKey key, scsi::AdditionalSense code) {
  scsi::Sense sense;
  sense.key = key;
  sense.asc = code.asc;
  sense.ascq = code.ascq;
  return sense;
}

scsi::Sense illegal_request(scsi::AdditionalSense code) {
  return make_sense(scsi::SenseKey::illegal_request, code);
}

namespace detail {

void check_condition(Execution& execution, const scsi::Sense& sense) {
  execution.status = scsi::Status::check_condition;
  execution.sense = sense;
  execution.moved = 0;
}

void answer(Execution& execution, std::span<const std::uint8_t> parameters, std::uint64_t allocation_length) {
  execution.moved = static_cast<std::uint32_t>(std::min<std::uint64_t>(parameters.size(), allocation_length));
  const std::uint32_t length = std::min(execution.moved, execution.data_length);
  proto::copy_in(execution.data, 0, parameters.data(), length);
}

}  // namespace detail

void execute(Execution& execution) {
  NBDGW_ASSERT(!execution.plan.refusal, "a refused command is not executed");
  switch (execution.plan.operation) {
    case Operation::none:
    case Operation::test_unit_ready:
      return;
    case Operation::inquiry:
      return detail::execute_inquiry(execution);
    case Operation::request_sense:
    case Operation::mode_sense:
    case Operation::read_capacity_10:
    case Operation::read_capacity_16:
    case Operation::report_luns:
      return detail::execute_parameters(execution);
    case Operation::read:
    case Operation::write:
    case Operation::synchronize_cache:
    case Operation::unmap:
    case Operation::write_same:
    case Operation::get_lba_status:
    case Operation::pre_fetch:
    case Operation::verify:
      return detail::execute_on_medium(execution);
  }
}

}  // namespace nbdgw::iscsi_target
