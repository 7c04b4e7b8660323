// What a Peer's target says, made by hand.
#include <span>
#include <utility>

#include "tests/unit/initiator/peer.hpp"

namespace nbdgw::test {

using namespace proto::iscsi;

Pdu Peer::response(std::uint16_t cid, std::uint32_t itt, std::uint8_t status, Bytes data) {
  ScsiResponse answer{.itt = itt, .sequence = status_sequence(cid)};
  answer.status.status = status;
  return make_pdu(answer, std::move(data));
}

Pdu Peer::data_in(std::uint16_t cid, std::uint32_t itt, std::uint32_t data_sn, std::uint32_t offset, Bytes data,
                  bool final) {
  return make_pdu(DataIn{.final = final,
                         .lun = 0x0001000000000000ULL,
                         .itt = itt,
                         .sequence = plain_sequence(cid),
                         .data_sn = data_sn,
                         .buffer_offset = offset},
                  std::move(data));
}

Pdu Peer::r2t(std::uint16_t cid, std::uint32_t itt, std::uint32_t r2t_sn, std::uint32_t offset, std::uint32_t length,
              std::uint32_t ttt) {
  return make_pdu(R2t{.lun = 0x0001000000000000ULL,
                      .itt = itt,
                      .ttt = ttt,
                      .sequence = plain_sequence(cid),
                      .r2t_sn = r2t_sn,
                      .buffer_offset = offset,
                      .desired_length = length});
}

Pdu Peer::async_message(std::uint16_t cid, AsyncEvent event, std::uint16_t parameter2) {
  return make_pdu(AsyncMessage{.sequence = status_sequence(cid), .event = event, .parameter2 = parameter2});
}

Pdu Peer::ping(std::uint16_t cid, std::uint32_t ttt) {
  return make_pdu(NopIn{.ttt = ttt, .sequence = plain_sequence(cid)});
}

Pdu Peer::pong(std::uint16_t cid, std::uint32_t itt) {
  return make_pdu(NopIn{.itt = itt, .sequence = status_sequence(cid)});
}

Pdu Peer::reject_of(const Pdu& pdu, RejectReason reason, std::uint16_t cid) {
  return make_pdu(Reject{.reason = reason, .sequence = status_sequence(cid)}, Bytes(pdu.bhs.begin(), pdu.bhs.end()));
}

void Peer::answer_ping(std::uint16_t cid) {
  const std::uint32_t itt = take(cid, Opcode::nop_out).as<NopOut>().itt;
  deliver(cid, pong(cid, itt));
}

void Peer::answer_logout(std::uint16_t cid, LogoutResult result, std::uint16_t time2wait) {
  const std::uint32_t itt = take(cid, Opcode::logout_request).as<LogoutRequest>().itt;
  deliver(cid, make_pdu(LogoutResponse{
                   .response = result, .itt = itt, .sequence = status_sequence(cid), .time2wait = time2wait}));
}

Bytes sense_segment(proto::scsi::SenseKey key, std::uint8_t asc, std::uint8_t ascq) {
  constexpr std::uint8_t kLength = 18;
  Bytes data(2 + kLength);
  data[1] = kLength;
  proto::scsi::build_fixed_sense({key, asc, ascq, false, {}}, std::span(data).subspan(2));
  return data;
}

}  // namespace nbdgw::test
