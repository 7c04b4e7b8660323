#pragma once

#include "tests/unit/iscsi_target/peer.hpp"

namespace nbdgw::test {

/// A PDU that could be right: mostly it is.
inline Bytes plausible_pdu(Peer& peer, std::mt19937_64& random, std::uint32_t& cmd_sn) {
  const auto number = [&](std::uint64_t below) { return static_cast<std::uint32_t>(random() % below); };
  const std::uint64_t lun = std::uint64_t{1 + number(2)} << 48;
  peer.cmd_sn = random() % 10 == 0 ? cmd_sn + number(3) : cmd_sn++;
  peer.itt = number(200);
  Bytes pdu;
  switch (random() % 8) {
    case 0:
    case 1: {
      const std::uint32_t blocks = number(5);
      pdu = peer.bytes_of(
          peer.command_pdu(Peer::read_cdb(number(3), blocks), {.read = true, .length = blocks * 512}, lun), {});
      break;
    }
    case 2:
    case 3: {
      const std::uint32_t length = 512 * number(9);
      const std::uint32_t now = number(std::min<std::uint32_t>(length, 1024) + 1);
      pdu = peer.bytes_of(peer.command_pdu(Peer::write_cdb(number(9), length / 512),
                                           {.write = true, .final = random() % 3 != 0, .length = length}, lun),
                          Bytes(now, 5));
      break;
    }
    case 4:
      pdu = peer.bytes_of(iscsi::DataOut{.final = random() % 2 == 0,
                                         .itt = number(200),
                                         .ttt = random() % 2 == 0 ? number(4) : iscsi::kReservedTag,
                                         .buffer_offset = number(2)},
                          Bytes(number(1025), 6));
      break;
    case 5:
      pdu = peer.bytes_of(iscsi::NopOut{.immediate = random() % 2 == 0, .itt = 300 + number(100), .cmd_sn = cmd_sn++},
                          Bytes(number(50), 7));
      break;
    case 6:
      pdu = peer.bytes_of(
          iscsi::TaskManagementRequest{.immediate = random() % 4 != 0,
                                       .function = static_cast<iscsi::TaskManagementFunction>(number(7)),
                                       .lun = lun,
                                       .itt = 400 + number(100),
                                       .referenced_task_tag = number(200),
                                       .cmd_sn = cmd_sn,
                                       .ref_cmd_sn = cmd_sn - number(5)});
      break;
    default: {
      const scsi::Cdb cdbs[] = {scsi::test_unit_ready(), scsi::SynchronizeCache{}.build(),
                                scsi::WriteSame{.blocks = 3, .no_data_out = true}.build()};
      pdu = peer.bytes_of(peer.command_pdu(cdbs[number(3)], {.immediate = random() % 3 == 0}, lun), {});
    }
  }
  if (random() % 12 == 0) pdu[number(48)] ^= static_cast<std::uint8_t>(random());
  return pdu;
}

}  // namespace nbdgw::test
