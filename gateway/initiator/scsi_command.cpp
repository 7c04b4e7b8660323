#include "gateway/initiator/scsi_command.hpp"

#include <algorithm>
#include <cstddef>

#include "proto/scsi/constants.hpp"

namespace nbdgw::initiator {

std::optional<proto::scsi::Sense> sense_of(const ScsiCommand& command) noexcept {
  if (command.outcome != Outcome::completed) return std::nullopt;
  if (command.status != static_cast<std::uint8_t>(proto::scsi::Status::check_condition)) return std::nullopt;
  const std::size_t length = std::min<std::size_t>(command.sense_length, command.sense.size());
  return proto::scsi::parse_sense(std::span(command.sense).first(length));
}

}  // namespace nbdgw::initiator
