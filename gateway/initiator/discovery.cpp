#include "gateway/initiator/discovery.hpp"

#include <algorithm>
#include <utility>

#include "gateway/initiator/host.hpp"

namespace nbdgw::initiator {

using proto::iscsi::Opcode;

namespace {

/// One exchange runs at a time, so one tag serves them all.
constexpr std::uint32_t kItt = 1;
constexpr std::uint32_t kSessionNumber = 0xd15c0;
constexpr std::string_view kSendTargets{"SendTargets=All\0", 16};

}  // namespace

Discovery::Discovery(SessionSettings settings, proto::RandomSource& random)
    : settings_(std::move(settings)), random_(random) {
  settings_.target_name.clear();
  // The reader has no more room for text (PduReader).
  settings_.max_recv_data_segment_length =
      std::min(settings_.max_recv_data_segment_length, PduReader::kMaxControlLength);
}

void Discovery::fail(std::string why) {
  if (finished_) return;
  finished_ = true;
  failure_ = std::move(why);
}

void Discovery::on_connected(proto::Micros now) {
  state_ = State::login;
  deadline_ = now + settings_.login_timeout;
  end_ = now + std::max(kMaxDuration, settings_.login_timeout);
  login_ = std::make_unique<Login>(settings_, LoginIdentity{.isid = make_isid(kSessionNumber)}, random_);
  send_login();
}

void Discovery::on_disconnected(const std::string& why, proto::Micros) {
  if (state_ == State::logout) {  // as good as an answer to the logout
    finished_ = true;
    return;
  }
  fail(why);
}

void Discovery::on_deadline(proto::Micros now) {
  if (now < deadline_) return;
  fail(now >= end_ ? "the portal does not come to the end of its answer" : "the portal did not answer in time");
}

void Discovery::on_received(std::size_t bytes, proto::Micros now) {
  if (finished_) return;
  const ConnectionError error = reader_.on_received(bytes, *this, now);
  if (error == ConnectionError::none) return;
  fail(std::string(describe(error)) + (detail_.empty() ? "" : " (" + detail_ + ")"));
}

void Discovery::on_sent(std::size_t bytes, proto::Micros) {
  send_queue_.on_sent(bytes, [](Task*) {});
}

void Discovery::send_login() {
  auto header = login_->request();
  header.itt = kItt;
  header.cmd_sn = cmd_sn_;
  header.exp_stat_sn = exp_stat_sn_;
  OutgoingPdu& pdu = send_queue_.push();
  header.encode(pdu.bhs);
  pdu.plain = reinterpret_cast<const std::uint8_t*>(login_->text().data());
  pdu.data_length = header.data_length;
  send_queue_.seal(false, false);
}

void Discovery::send_text(std::uint32_t ttt, std::uint64_t lun, std::string_view text) {
  OutgoingPdu& pdu = send_queue_.push();
  proto::iscsi::TextRequest{.data_length = static_cast<std::uint32_t>(text.size()),
                            .lun = lun,
                            .itt = kItt,
                            .ttt = ttt,
                            .cmd_sn = cmd_sn_++,
                            .exp_stat_sn = exp_stat_sn_}
      .encode(pdu.bhs);
  pdu.plain = reinterpret_cast<const std::uint8_t*>(text.data());
  pdu.data_length = static_cast<std::uint32_t>(text.size());
  send_queue_.seal(header_digest_, data_digest_);
}

void Discovery::send_logout() {
  state_ = State::logout;
  OutgoingPdu& pdu = send_queue_.push();
  proto::iscsi::LogoutRequest{.reason = proto::iscsi::LogoutReason::close_session,
                              .itt = kItt,
                              .cmd_sn = cmd_sn_,
                              .exp_stat_sn = exp_stat_sn_}
      .encode(pdu.bhs);
  send_queue_.seal(header_digest_, data_digest_);
}

ConnectionError Discovery::complete_pdu(const ReceivedPdu& pdu, proto::Micros now) {
  const auto opcode = static_cast<Opcode>(proto::iscsi::Prefix::decode(pdu.bhs).opcode);
  if (opcode == Opcode::login_response && state_ == State::login) return login_response(pdu);
  if (opcode == Opcode::text_response && state_ == State::text) return text_response(pdu, now);
  if (opcode == Opcode::logout_response && state_ == State::logout) {
    finished_ = true;
    return ConnectionError::none;
  }
  if (opcode == Opcode::nop_in && state_ != State::login) {
    const auto nop = proto::iscsi::NopIn::decode(pdu.bhs);
    if (nop.ttt == proto::iscsi::kReservedTag) return ConnectionError::none;
    if (!send_queue_.management_room()) return ConnectionError::protocol;
    OutgoingPdu& out = send_queue_.push();
    proto::iscsi::NopOut{.lun = nop.lun, .ttt = nop.ttt, .cmd_sn = cmd_sn_, .exp_stat_sn = exp_stat_sn_}.encode(
        out.bhs);
    send_queue_.seal(header_digest_, data_digest_);
    return ConnectionError::none;
  }
  detail_ = "an answer that nothing asked for";
  return ConnectionError::protocol;
}

ConnectionError Discovery::login_response(const ReceivedPdu& received) {
  const auto pdu = proto::iscsi::LoginResponse::decode(received.bhs);
  if (!send_queue_.empty()) {
    detail_ = "an answer before the request was sent";
    return ConnectionError::protocol;
  }
  if (pdu.itt != kItt) return ConnectionError::bad_itt;
  exp_stat_sn_ = pdu.sequence.stat_sn + 1;
  const std::string_view text(reinterpret_cast<const char*>(received.data.data()), received.data.size());
  switch (login_->on_response(pdu, text)) {
    case Login::Step::send:
      send_login();
      return ConnectionError::none;
    case Login::Step::redirected:
      detail_ = "ask " + login_->redirect().host + ":" + std::to_string(login_->redirect().port) + " instead";
      return ConnectionError::redirected;
    case Login::Step::failed:
      detail_ = login_->detail();
      return login_->error();
    case Login::Step::done:
      break;
  }
  header_digest_ = login_->connection().header_digest == proto::iscsi::Digest::crc32c;
  data_digest_ = login_->connection().data_digest == proto::iscsi::Digest::crc32c;
  reader_.set_digests(header_digest_, data_digest_);
  reader_.set_max_data_length(login_->connection().own_max_recv_data_segment_length);
  state_ = State::text;
  send_text(proto::iscsi::kReservedTag, 0, kSendTargets);
  return ConnectionError::none;
}

ConnectionError Discovery::text_response(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::TextResponse::decode(received.bhs);
  if (pdu.itt != kItt) return ConnectionError::bad_itt;
  if (!send_queue_.management_room()) {
    detail_ = "answers before the requests were sent";
    return ConnectionError::protocol;
  }
  if (pdu.sequence.stat_sn != exp_stat_sn_) return ConnectionError::stat_sn;
  ++exp_stat_sn_;
  const std::string_view text(reinterpret_cast<const char*>(received.data.data()), received.data.size());
  const bool last = pdu.final && !pdu.continues;
  if (!take_text(text, last)) return ConnectionError::protocol;
  // Who tells something may go on; who only says that there is more may not.
  if (!text.empty()) deadline_ = std::min(now + settings_.login_timeout, end_);
  if (!last) {
    if (pdu.ttt == proto::iscsi::kReservedTag) {
      detail_ = "an answer that goes on, without a tag to ask for the rest";
      return ConnectionError::protocol;
    }
    send_text(pdu.ttt, pdu.lun, {});
    return ConnectionError::none;
  }
  send_logout();
  return ConnectionError::none;
}

/// Pairs may be cut anywhere: what has no end yet waits for it.
bool Discovery::take_text(std::string_view text, bool last) {
  text_length_ += text.size();
  if (text_length_ > kMaxText) {
    detail_ = "more text than we take, " + std::to_string(kMaxText) + " bytes";
    return false;
  }
  unread_.append(text);
  const std::size_t complete = last ? unread_.size() : unread_.rfind('\0') + 1;
  if (!read_targets(std::string_view(unread_).substr(0, complete))) return false;
  unread_.erase(0, complete);
  if (unread_.size() <= proto::iscsi::kMaxKeyLength + 1 + proto::iscsi::kMaxValueLength) return true;
  detail_ = "a text key that does not end";
  return false;
}

bool Discovery::read_targets(std::string_view text) {
  proto::iscsi::TextReader reader(text);
  for (proto::iscsi::KeyValue pair; reader.next(pair);) {
    switch (proto::iscsi::find_key(pair.key)) {
      case proto::iscsi::Key::target_name:
        if (targets_.size() == kMaxTargets) {
          detail_ = "more than " + std::to_string(kMaxTargets) + " targets";
          return false;
        }
        targets_.push_back({std::string(pair.value), {}});
        break;
      case proto::iscsi::Key::target_address:
        if (targets_.empty()) {
          detail_ = "an address before the first target";
          return false;
        }
        targets_.back().addresses.emplace_back(pair.value);
        break;
      default:
        break;  // nothing else belongs there, and nothing else matters to us
    }
  }
  if (reader.error() == proto::iscsi::TextError::none) return true;
  detail_ = proto::iscsi::describe(reader.error());
  return false;
}

}  // namespace nbdgw::initiator
