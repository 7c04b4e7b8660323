#include "gateway/initiator/pdu_stream.hpp"

namespace nbdgw::initiator {

using proto::iscsi::Opcode;

void PduStream::send_nop_out(std::uint32_t itt, std::uint32_t ttt, std::uint64_t lun, std::uint32_t cmd_sn) noexcept {
  proto::iscsi::NopOut{.lun = lun, .itt = itt, .ttt = ttt, .cmd_sn = cmd_sn, .exp_stat_sn = exp_stat_sn_}.encode(
      send_queue_.push().bhs);
  seal(Opcode::nop_out);
}

ConnectionError PduStream::answer_nop_in(const proto::iscsi::NopIn& nop, std::uint32_t cmd_sn, std::string& detail) {
  if (nop.ttt == proto::iscsi::kReservedTag) return ConnectionError::none;
  if (!send_queue_.management_room()) {
    detail = "more NOP-In than we can answer";
    return ConnectionError::protocol;
  }
  send_nop_out(proto::iscsi::kReservedTag, nop.ttt, nop.lun, cmd_sn);
  return ConnectionError::none;
}

void PduStream::send_logout(proto::iscsi::LogoutReason reason, std::uint32_t itt, std::uint16_t cid,
                            std::uint32_t cmd_sn) noexcept {
  proto::iscsi::LogoutRequest{.reason = reason, .itt = itt, .cid = cid, .cmd_sn = cmd_sn, .exp_stat_sn = exp_stat_sn_}
      .encode(send_queue_.push().bhs);
  seal(Opcode::logout_request);
}

void PduStream::begin_login(const SessionSettings& settings, const LoginIdentity& identity,
                            proto::RandomSource& random, std::uint32_t itt) {
  login_ = std::make_unique<Login>(settings, identity, random);
  login_itt_ = itt;
}

void PduStream::send_login_request(std::uint32_t cmd_sn) {
  auto header = login_->request();
  header.itt = login_itt_;
  header.cmd_sn = cmd_sn;
  header.exp_stat_sn = exp_stat_sn_;
  OutgoingPdu& pdu = send_queue_.push();
  header.encode(pdu.bhs);
  pdu.plain = reinterpret_cast<const std::uint8_t*>(login_->text().data());
  pdu.data_length = header.data_length;
  seal(Opcode::login_request);
}

Login::Step PduStream::on_login_response(const ReceivedPdu& received) {
  if (proto::iscsi::Prefix::decode(received.bhs).opcode != static_cast<std::uint8_t>(Opcode::login_response)) {
    return login_->fail(ConnectionError::protocol, "not a login response during login");
  }
  if (!send_queue_.empty()) return login_->fail(ConnectionError::protocol, "an answer before the request was sent");
  const auto pdu = proto::iscsi::LoginResponse::decode(received.bhs);
  if (pdu.itt != login_itt_) return login_->fail(ConnectionError::bad_itt);
  exp_stat_sn_ = pdu.sequence.stat_sn + 1;
  return login_->on_response(pdu, {reinterpret_cast<const char*>(received.data.data()), received.data.size()});
}

void PduStream::end_login() noexcept {
  const proto::iscsi::ConnectionParameters& agreed = login_->connection();
  header_digest_ = agreed.header_digest == proto::iscsi::Digest::crc32c;
  data_digest_ = agreed.data_digest == proto::iscsi::Digest::crc32c;
  reader_.set_digests(header_digest_, data_digest_);
  reader_.set_max_data_length(agreed.own_max_recv_data_segment_length);
  login_.reset();
}

}  // namespace nbdgw::initiator
