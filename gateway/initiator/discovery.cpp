#include "gateway/initiator/discovery.hpp"

#include <algorithm>
#include <utility>

#include "gateway/initiator/host.hpp"
#include "gateway/initiator/portal_group.hpp"

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

void Discovery::setup(proto::Micros now) {
  deadline_ = now + settings_.login_timeout;
}

void Discovery::on_connected(proto::Micros now) {
  state_ = State::login;
  deadline_ = now + settings_.login_timeout;
  end_ = now + std::max(kMaxDuration, settings_.login_timeout);
  stream_.begin_login(settings_, LoginIdentity{.isid = make_isid(kSessionNumber)}, random_, kItt);
  stream_.send_login_request(cmd_sn_);
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
  if (state_ == State::connecting) return fail(describe(ConnectionError::login_timed_out, kNoTcpConnection));
  if (state_ == State::login) return fail(describe(ConnectionError::login_timed_out));
  fail(now >= end_ ? "the portal does not come to the end of its answer" : "the portal did not answer in time");
}

void Discovery::on_received(std::size_t bytes, proto::Micros now) {
  if (finished_) return;
  const ConnectionError error = stream_.on_received(bytes, *this, now);
  if (error != ConnectionError::none) fail(describe(error, detail_));
}

void Discovery::on_sent(std::size_t bytes, proto::Micros) {
  stream_.on_sent(bytes, [](Task*) {});
}

void Discovery::send_text(std::uint32_t ttt, std::uint64_t lun, std::string_view text) {
  OutgoingPdu& pdu = stream_.send_queue().push();
  proto::iscsi::TextRequest{.data_length = static_cast<std::uint32_t>(text.size()),
                            .lun = lun,
                            .itt = kItt,
                            .ttt = ttt,
                            .cmd_sn = cmd_sn_++,
                            .exp_stat_sn = stream_.exp_stat_sn()}
      .encode(pdu.bhs);
  pdu.plain = reinterpret_cast<const std::uint8_t*>(text.data());
  pdu.data_length = static_cast<std::uint32_t>(text.size());
  stream_.seal(Opcode::text_request);
}

ConnectionError Discovery::complete_pdu(const ReceivedPdu& pdu, proto::Micros now) {
  const Opcode opcode = stream_.count_received(pdu);
  if (state_ == State::login) return login_response(pdu);
  if (opcode == Opcode::text_response && state_ == State::text) return text_response(pdu, now);
  if (opcode == Opcode::nop_in) {
    return stream_.answer_nop_in(proto::iscsi::NopIn::decode(pdu.bhs), cmd_sn_, detail_);
  }
  if (opcode == Opcode::logout_response && state_ == State::logout) {
    finished_ = true;
    return ConnectionError::none;
  }
  detail_ = "an answer that nothing asked for";
  return ConnectionError::protocol;
}

ConnectionError Discovery::login_response(const ReceivedPdu& received) {
  switch (stream_.on_login_response(received)) {
    case Login::Step::send:
      stream_.send_login_request(cmd_sn_);
      return ConnectionError::none;
    case Login::Step::redirected:
      detail_ = "ask " + portal_text(stream_.login().redirect()) + " instead";
      return stream_.login().error();
    case Login::Step::failed:
      detail_ = stream_.login().detail();
      return stream_.login().error();
    case Login::Step::done:
      break;
  }
  stream_.end_login();
  state_ = State::text;
  send_text(proto::iscsi::kReservedTag, 0, kSendTargets);
  return ConnectionError::none;
}

ConnectionError Discovery::text_response(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::TextResponse::decode(received.bhs);
  if (pdu.itt != kItt) return ConnectionError::bad_itt;
  if (!stream_.send_queue().management_room()) {
    detail_ = "answers before the requests were sent";
    return ConnectionError::protocol;
  }
  if (const auto error = stream_.take_stat_sn(pdu.sequence.stat_sn); error != ConnectionError::none) return error;
  const std::string_view text(reinterpret_cast<const char*>(received.data.data()), received.data.size());
  const bool last = pdu.final && !pdu.continues;
  if (!take_text(text, last)) return ConnectionError::protocol;
  // Who tells something may go on; who only says that there is more may not.
  if (!text.empty()) deadline_ = std::min(now + settings_.login_timeout, end_);
  if (last) {
    state_ = State::logout;
    stream_.send_logout(proto::iscsi::LogoutReason::close_session, kItt, 0, cmd_sn_);
    return ConnectionError::none;
  }
  if (pdu.ttt == proto::iscsi::kReservedTag) {
    detail_ = "an answer that goes on, without a tag to ask for the rest";
    return ConnectionError::protocol;
  }
  send_text(pdu.ttt, pdu.lun, {});
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
