#include "gateway/bridge/errors.hpp"

#include <optional>

#include "proto/scsi/constants.hpp"
#include "proto/scsi/sense.hpp"

namespace nbdgw::bridge {

namespace {

using initiator::Outcome;
using proto::scsi::SenseKey;
using proto::scsi::Status;

constexpr const char* kShort = "the target moves less data than it should";

const char* explain_sense(const initiator::ScsiCommand& command) noexcept {
  const auto sense = sense_of(command);
  if (!sense) return "the target reports an error without saying which";
  switch (sense->key) {
    case SenseKey::recovered_error:  // not an error by itself
      return kShort;
    case SenseKey::not_ready:
      return "the LUN is not ready";
    case SenseKey::medium_error:
      return "medium error";
    case SenseKey::hardware_error:
      return "hardware error of the target";
    case SenseKey::illegal_request:
      return "the LUN refuses the command";
    case SenseKey::unit_attention:
      return "the LUN reports unit attentions without end";
    case SenseKey::aborted_command:
      return "the target aborted the command";
    default:
      return "the target reports an error";
  }
}

}  // namespace

proto::nbd::Error to_nbd(device::Error error) noexcept {
  using Nbd = proto::nbd::Error;
  switch (error) {
    case device::Error::none:
      return Nbd::none;
    case device::Error::io:
      return Nbd::eio;
    case device::Error::no_space:
      return Nbd::enospc;
    case device::Error::invalid:
      return Nbd::einval;
    case device::Error::not_permitted:
      return Nbd::eperm;
    case device::Error::unsupported:
      return Nbd::eio;  // neither this nor anything in its place
  }
  return Nbd::eio;
}

bool unknown_command(const initiator::ScsiCommand& command) noexcept {
  const auto sense = sense_of(command);
  return sense && sense->is(SenseKey::illegal_request, proto::scsi::asc::kInvalidOpcode);
}

bool invalid_field(const initiator::ScsiCommand& command) noexcept {
  const auto sense = sense_of(command);
  return sense && sense->is(SenseKey::illegal_request, proto::scsi::asc::kInvalidFieldInCdb);
}

void add_command(const DiskCommand& command, RequestFailure& failure) noexcept {
  const device::Attempts& again = command.attempts;
  FailedCommand failed{.opcode = command.cdb[0],
                       .outcome = command.outcome,
                       .status = command.status,
                       .sense = sense_of(command),
                       .tries = 1U + again.errors + again.waits + again.unit_attentions + again.losses};
  if (command.role == DiskCommand::Role::segment) {
    const Segment& segment = static_cast<const Segment&>(command);
    const bool head = segment.operation == Operation::head_read;
    const bool tail = segment.operation == Operation::tail_read;
    failed.lba = head ? segment.lba : tail ? segment.lba + segment.blocks - 1 : segment.lba + segment.blocks_done;
    failed.blocks = head || tail ? 1 : static_cast<std::uint32_t>(segment.command_blocks);
    failure.lba = failed.lba;
  }
  failure.command = failed;
}

bool may_have_lost_cache(const initiator::ScsiCommand& synchronize) noexcept {
  if (synchronize.outcome != Outcome::completed) return false;
  if (static_cast<Status>(synchronize.status) != Status::check_condition) return false;
  const auto sense = sense_of(synchronize);
  if (!sense) return true;  // nobody says what it was
  switch (sense->key) {
    case SenseKey::recovered_error:
    case SenseKey::not_ready:
    case SenseKey::illegal_request:
    case SenseKey::unit_attention:
      return false;
    default:
      return true;
  }
}

const char* explain_briefly(const initiator::ScsiCommand& command, device::Error error) noexcept {
  switch (command.outcome) {
    case Outcome::path_lost:
      return "no path to the target";
    case Outcome::bad_target:
      return "the target breaks the protocol";
    case Outcome::aborted:
    case Outcome::transport_disrupted:
      return "the target does not answer the command, however often it is sent";
    default:
      break;
  }
  const auto status = static_cast<Status>(command.status);
  if (status == Status::reservation_conflict) return "the LUN is reserved by another initiator";
  switch (error) {
    case device::Error::no_space:
      return "no space: the pool behind the LUN is full, or its end is reached";
    case device::Error::invalid:
      return "beyond the end of the LUN";
    case device::Error::not_permitted:
      return "the LUN is write protected";
    default:
      break;
  }
  switch (status) {
    case Status::good:
      return kShort;
    case Status::busy:
      return "the LUN stays busy";
    case Status::task_set_full:
      return "the LUN takes no more commands";
    case Status::task_aborted:
      return "the target aborted the command";
    case Status::check_condition:
      return explain_sense(command);
    default:
      return "the target answers with an unexpected status";
  }
}

}  // namespace nbdgw::bridge
