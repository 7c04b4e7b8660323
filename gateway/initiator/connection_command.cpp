// Building the SCSI Command PDU (iscsi_prep_scsi_cmd_pdu, iscsi_prep_ecdb_ahs).
#include <algorithm>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {
namespace {

constexpr std::size_t kInlineCdb = 16;

/// A CDB longer than 16 bytes goes on in an Extended CDB AHS (RFC 7143 section 11.2.2.4), padded to words. Returns
/// its length on the wire.
std::uint8_t prep_ecdb_ahs(const ScsiCommand& command, OutgoingPdu& pdu) noexcept {
  if (command.cdb_length <= kInlineCdb) return 0;
  const auto rest = static_cast<std::uint16_t>(command.cdb_length - kInlineCdb);
  pdu.extra.fill(0);
  proto::store_be16(pdu.extra.data(), static_cast<std::uint16_t>(rest + 1));  // counts the reserved byte
  pdu.extra[2] = proto::iscsi::kAhsTypeExtendedCdb;
  std::copy_n(command.cdb.begin() + kInlineCdb, rest, pdu.extra.begin() + 4);
  return static_cast<std::uint8_t>(4 + rest + proto::iscsi::padding(rest));
}

}  // namespace

void Connection::prep_scsi_cmd_pdu(Task& task) {
  const ScsiCommand& command = *task.command;
  const proto::iscsi::SessionParameters& session = session_.parameters_;
  const bool write = command.direction == Direction::write && command.data_length > 0;

  // How a write's data is split (RFC 7143 section 4.2.5.2): with the command, unsolicited behind it, and the rest
  // when the target asks for it.
  std::uint32_t immediate = 0;
  std::uint32_t unsolicited = 0;
  if (write) {
    const std::uint32_t burst = std::min(session.first_burst_length, command.data_length);
    if (session.immediate_data || NBDGW_MUTANT(immediate_data_unasked)) {
      immediate = std::min(burst, parameters_.peer_max_recv_data_segment_length);
    }
    const bool more = burst > immediate && !session.initial_r2t;
    if (more && session_.next_comes_in_order(*this)) unsolicited = burst - immediate;
  }

  OutgoingPdu& pdu = stream_.send_queue().push();
  pdu.extra_length = prep_ecdb_ahs(command, pdu);
  pdu.task = &task;
  pdu.data_length = immediate;

  proto::iscsi::ScsiCommandPdu header{.final = unsolicited == 0,
                                      .read = command.direction == Direction::read,
                                      .write = command.direction == Direction::write,
                                      .ahs_length = pdu.extra_length,
                                      .data_length = immediate,
                                      .lun = command.lun,
                                      .itt = task.itt,
                                      .expected_length = command.data_length,
                                      // Given last of all and at this point only: once a CmdSN is given the PDU will
                                      // be sent, so that no hole can stall the other connections.
                                      .cmd_sn = session_.cmd_sn_++,
                                      .exp_stat_sn = stream_.exp_stat_sn()};
  std::copy_n(command.cdb.begin(), std::min<std::size_t>(command.cdb_length, kInlineCdb), header.cdb.begin());
  header.encode(pdu.bhs);
  task.cmd_sn = header.cmd_sn;
  last_cmd_sn_ = header.cmd_sn;
  task.bytes_sent = immediate;
  stream_.seal(proto::iscsi::Opcode::scsi_command);

  if (unsolicited > 0) {
    task.sequences[0] = {.offset = immediate, .remaining = unsolicited};
    task.sequence_count = 1;
    // At the end: unsolicited data must go in the order of its commands (RFC 7143 section 4.2.5.2), and what was
    // asked for earlier is not held up by it.
    requeue_task(task);
  }
}

}  // namespace nbdgw::initiator
