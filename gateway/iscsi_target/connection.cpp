#include "gateway/iscsi_target/connection.hpp"

#include <algorithm>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/bytes/iovecs.hpp"

namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

Connection::Connection(Server& server, std::string local_address, proto::Micros now, std::uint16_t portal)
    : server_(server),
      local_address_(std::move(local_address)),
      portal_group_tag_(static_cast<std::uint16_t>(server.options().portal_group_tag + portal)),
      login_(std::make_unique<Login>(server, portal_group_tag_)),
      login_deadline_(now + server.options().login_timeout),
      last_received_(now),
      staging_(kStagingBytes) {
  // Not from zero: an initiator that takes the first StatSN for granted shall be found out (section 11.13.4).
  std::array<std::uint8_t, 4> random;
  server.random().fill(random);
  stat_sn_ = proto::load_be32(random.data());
  server_.set_now(now);
  server_.enroll(*this);
}

Connection::~Connection() {
  NBDGW_ASSERT(session_ == nullptr, "on_disconnected() comes before the end of a connection");
  clear_tx();
  server_.forget(*this);
}

std::string Connection::describe() const {
  if (session_ == nullptr) return "not logged in";
  return session_->identity().initiator_name + ", session " + std::to_string(session_->tsih()) + ", connection " +
         std::to_string(cid_);
}

void Connection::enter(ConnectionState state) noexcept {
  state_ = state;
  server_.mark_ready(*this);
}

void Connection::attach(Session& session, const Login& login) {
  NBDGW_ASSERT(state_ == ConnectionState::login, "a connection joins one session, once");
  session_ = &session;
  cid_ = login.cid();
  parameters_ = login.connection_parameters();
}

void Connection::detach(const std::string& reason) {
  if (session_ == nullptr) return;
  window_ = sequence(false);
  session_ = nullptr;
  rx_task_ = nullptr;
  sink_ = Sink::discard;
  close_after_sending(reason);
}

void Connection::close_after_sending(const std::string& reason) {
  if (state_ == ConnectionState::closed || state_ == ConnectionState::closing) return;
  close_reason_ = reason;
  const bool sent = queue_first_ == nullptr && wire_count_ == 0;
  flush_deadline_ = server_.now() + kFlushTimeout;
  enter(sent ? ConnectionState::closed : ConnectionState::closing);
}

void Connection::violation(const std::string& reason) {
  if (state_ == ConnectionState::closed) return;
  ++server_.counters().protocol_errors;
  close_reason_ = "protocol error: " + reason;
  enter(ConnectionState::closed);
}

void Connection::reset(const std::string& reason) {
  if (state_ == ConnectionState::closed) return;
  close_reason_ = reason;
  wants_reset_ = true;
  enter(ConnectionState::closed);
}

void Connection::stop_sending() noexcept {
  stopped_sending_ = true;
  server_.mark_ready(*this);
}

void Connection::on_disconnected(proto::Micros now) {
  server_.set_now(now);
  if (session_ != nullptr) session_->remove(*this);
  session_ = nullptr;
  clear_tx();
  state_ = ConnectionState::closed;
  server_.tidy();
}

bool Connection::is_frozen() const noexcept {
  return server_.is_frozen(portal_group_tag_);
}

proto::Micros Connection::next_deadline() const noexcept {
  if (is_frozen()) return proto::kNever;
  switch (state_) {
    case ConnectionState::login:
      return login_deadline_;
    case ConnectionState::full_feature:
      if (server_.options().nop_interval == 0) return proto::kNever;
      if (ping_sent_ != proto::kNever) return ping_sent_ + server_.options().nop_timeout;
      return last_received_ + server_.options().nop_interval;
    case ConnectionState::closing:
      return flush_deadline_;
    case ConnectionState::closed:
      return proto::kNever;
  }
  return proto::kNever;
}

void Connection::on_deadline(proto::Micros now) {
  server_.set_now(now);
  if (now < next_deadline()) return;
  switch (state_) {
    case ConnectionState::login:
      ++server_.counters().login_failures;
      close_reason_ = "no login within " + std::to_string(server_.options().login_timeout / proto::kSecond) + " s";
      return enter(ConnectionState::closed);
    case ConnectionState::full_feature:
      if (ping_sent_ == proto::kNever) return send_ping(now);
      close_reason_ = "the initiator did not answer a NOP-In";
      return enter(ConnectionState::closed);
    case ConnectionState::closing:
      return enter(ConnectionState::closed);
    case ConnectionState::closed:
      return;
  }
}

void Connection::send_ping(proto::Micros now) {
  ping_sent_ = now;
  ping_ttt_ = (ping_ttt_ + 1) & 0x7fffffff;
  ControlPdu& pdu = new_control();
  pdu.consumes_stat_sn = false;
  NopIn{.ttt = ping_ttt_}.encode(pdu.header);
  send(pdu);
}

void Connection::send_window() {
  ControlPdu& pdu = new_control();
  pdu.consumes_stat_sn = false;
  NopIn{}.encode(pdu.header);
  send(pdu);
}

void Connection::send_async(const AsyncMessage& message) {
  ControlPdu& pdu = new_control();
  message.encode(pdu.header);
  send(pdu);
}

void Connection::reject(RejectReason reason, const Bhs& header) {
  ++server_.counters().rejects;
  ControlPdu& pdu = new_control();
  pdu.data.assign(header.begin(), header.end());
  Reject{.reason = reason, .data_length = kBhsLength}.encode(pdu.header);
  send(pdu);
}

// ---- login
// ----------------------------------------------------------------------------------------------------------

void Connection::on_login(proto::Micros now) {
  const LoginRequest request = LoginRequest::decode(header_);
  std::optional<Gate::LoginAnswer> refused;
  if (server_.gate() != nullptr) refused = server_.gate()->refuse_login(request);
  Login::Reply reply;
  if (refused) {
    reply.status = refused->status;
    reply.reason = "a fault refuses it";
    reply.current_stage = request.current_stage;
    reply.text = refused->text;
  } else {
    reply = login_->on_request(request, login_text_);
  }
  if (reply.complete) {
    reply.status = server_.admit(*this, *login_);
    if (reply.status != LoginStatus::success) reply.reason = "the session could not be joined any more";
  }
  send_login_response(request, reply);
  if (reply.status != LoginStatus::success) {
    ++server_.counters().login_failures;
    return close_after_sending("login refused: " + reply.reason);
  }
  if (!reply.complete) return;
  ++server_.counters().logins;
  last_received_ = now;
  rx_header_digest_ = parameters_.header_digest == Digest::crc32c;
  rx_data_digest_ = parameters_.data_digest == Digest::crc32c;
  login_.reset();
  enter(ConnectionState::full_feature);
}

void Connection::send_login_response(const LoginRequest& request, const Login::Reply& reply) {
  const bool good = reply.status == LoginStatus::success;
  ControlPdu& pdu = new_control();
  const bool elsewhere =
      reply.status == LoginStatus::redirect_temporary || reply.status == LoginStatus::redirect_permanent;
  if (good || elsewhere) pdu.data.assign(reply.text.begin(), reply.text.end());
  LoginResponse response{.transit = good && reply.transit,
                         .current_stage = reply.current_stage,
                         .next_stage = reply.transit ? reply.next_stage : LoginStage::security,
                         .data_length = static_cast<std::uint32_t>(pdu.data.size()),
                         .isid = request.isid,
                         .tsih = session_ != nullptr ? session_->tsih() : request.tsih,
                         .itt = request.itt,
                         .status = reply.status};
  // Until there is a session, a window as it will be: login requests are immediate and do not count.
  const Session* joined = request.tsih != 0 ? server_.find_session(request.tsih) : nullptr;
  response.sequence.exp_cmd_sn = joined != nullptr ? joined->exp_cmd_sn() : request.cmd_sn;
  response.sequence.max_cmd_sn =
      joined != nullptr ? joined->max_cmd_sn() : request.cmd_sn + server_.options().queue_depth - 1;
  response.encode(pdu.header);
  pdu.consumes_stat_sn = good;  // reserved with a status class other than 0 (section 11.13.4)
  pdu.ends_login = good && reply.complete;
  send(pdu);
}

// ---- requests that are no SCSI commands
// -----------------------------------------------------------------------------

void Connection::handle(Task& request, proto::Micros now) {
  switch (request.opcode) {
    case Opcode::nop_out:
      return on_nop_out(request, now);
    case Opcode::text_request:
      return on_text(request);
    case Opcode::logout_request:
      return on_logout(request);
    default:
      NBDGW_ASSERT(false, "the kinds of requests that a session hands back");
  }
}

void Connection::on_nop_out(Task& request, proto::Micros) {
  const NopOut pdu = NopOut::decode(request.request);
  if (pdu.ttt != kReservedTag && pdu.ttt == ping_ttt_) ping_sent_ = proto::kNever;
  if (pdu.itt == kReservedTag) return;  // an answer, or nothing but a CmdSN
  ControlPdu& answer = new_control();
  answer.data.resize(std::min(request.data_length, parameters_.peer_max_recv_data_segment_length));
  proto::copy_out(request.data, 0, answer.data.data(), answer.data.size());
  NopIn{.data_length = static_cast<std::uint32_t>(answer.data.size()), .itt = pdu.itt}.encode(answer.header);
  send(answer);
}

void Connection::on_text(Task& request) {
  const TextRequest pdu = TextRequest::decode(request.request);
  if (request.no_room) return close_after_sending("no memory for a text request");
  std::string text(request.data_length, '\0');
  proto::copy_out(request.data, 0, text.data(), text.size());
  const auto reply = text_.on_request(pdu, text, server_, *session_, local_address_, parameters_);
  if (reply.violation != nullptr) {
    reject(RejectReason::protocol_error, request.request);
    ++server_.counters().protocol_errors;
    return close_after_sending(std::string("protocol error: ") + reply.violation);
  }
  ControlPdu& answer = new_control();
  answer.data.assign(reply.text.begin(), reply.text.end());
  TextResponse{.final = reply.final,
               .continues = reply.continues,
               .data_length = static_cast<std::uint32_t>(answer.data.size()),
               .itt = pdu.itt,
               .ttt = reply.ttt}
      .encode(answer.header);
  send(answer);
}

/// Section 11.14: the session, this connection or another one. At level 0 nothing can be recovered.
void Connection::on_logout(Task& request) {
  const LogoutRequest pdu = LogoutRequest::decode(request.request);
  Session& session = *session_;
  LogoutResponse response{.response = LogoutResult::closed, .itt = pdu.itt};
  Connection* named = pdu.reason == LogoutReason::close_session ? this : session.find_connection(pdu.cid);
  if (pdu.reason == LogoutReason::remove_for_recovery)
    response.response = LogoutResult::recovery_not_supported;
  else if (pdu.reason != LogoutReason::close_session && pdu.reason != LogoutReason::close_connection)
    return violation("a logout request with an unknown reason");
  else if (named == nullptr)
    response.response = LogoutResult::cid_not_found;
  ControlPdu& answer = new_control();
  response.encode(answer.header);
  if (response.response != LogoutResult::closed) return send(answer);

  if (pdu.reason == LogoutReason::close_session) {
    send(answer);
    return session.close({});
  }
  send(answer);
  session.remove(*named);
  named->detach({});
}

}  // namespace nbdgw::iscsi_target
