#include "gateway/initiator/connection.hpp"

#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"

namespace nbdgw::initiator {

const char* to_string(ConnectionState state) noexcept {
  switch (state) {
    case ConnectionState::free:
      return "free";
    case ConnectionState::connecting:
      return "connecting";
    case ConnectionState::login:
      return "login";
    case ConnectionState::started:
      return "started";
    case ConnectionState::stopped:
      return "stopped";
  }
  return "?";
}

Connection::Connection(Session& session, std::uint16_t cid) : session_(session), cid_(cid) {}

Connection::~Connection() = default;

void Connection::enter(ConnectionState state, proto::Micros now) {
  using enum ConnectionState;
  const bool allowed = [&] {
    switch (state) {
      case free:
        return state_ != free;
      case connecting:
        return state_ == free;
      case login:
        return state_ == connecting;
      case started:
        return state_ == login;
      case stopped:
        return state_ == connecting || state_ == login || state_ == started;
    }
    return false;
  }();
  NBDGW_ASSERT(allowed, "the connection's states follow each other in order");
  state_ = state;
  state_since_ = now;
}

void Connection::setup(const Portal& portal, const std::string& address, std::vector<Portal> alternates,
                       proto::Micros now) {
  enter(ConnectionState::connecting, now);
  portal_ = portal;
  address_.clear();
  reader_.reset();
  parameters_ = {};
  send_header_digest_ = send_data_digest_ = false;
  exp_stat_sn_ = 0;
  start_tx();
  detail_.clear();
  has_alternates_ = !alternates.empty();
  session_.request_socket({.kind = SocketRequest::Kind::connect,
                           .connection = cid_,
                           .portal = portal,
                           .alternates = std::move(alternates),
                           .address = address});
}

void Connection::on_connected(proto::Micros now, std::string address, const std::optional<Portal>& portal) {
  if (state_ != ConnectionState::connecting) return;  // given up meanwhile; its close is on the way
  session_.bell_.ring();
  address_ = std::move(address);
  if (portal && *portal != portal_) {
    portal_ = *portal;
    if (cid_ == 0) session_.portals_.led_to(portal_);
  }
  enter(ConnectionState::login, now);
  last_received_ = now;
  LoginIdentity identity{.isid = session_.isid_, .cid = cid_};
  if (cid_ != 0) {
    identity.tsih = session_.tsih_;
    identity.session = session_.parameters_;
  }
  login_ = std::make_unique<Login>(session_.settings_, identity, session_.random_);
  send_login_request();
}

std::uint32_t Connection::login_itt() const noexcept {
  // Outside of what the pool gives out, so that it collides with no task of another connection.
  return (session_.tasks_.age() << TaskPool::kAgeShift) | (TaskPool::kIndexMask - 1 - cid_);
}

void Connection::send_login_request() {
  auto header = login_->request();
  header.itt = login_itt();
  header.cmd_sn = session_.cmd_sn_;
  header.exp_stat_sn = exp_stat_sn_;
  OutgoingPdu& pdu = send_queue_.push();
  header.encode(pdu.bhs);
  pdu.plain = reinterpret_cast<const std::uint8_t*>(login_->text().data());
  pdu.data_length = header.data_length;
  send_queue_.seal(false, false);
  counters_.sent(proto::iscsi::Opcode::login_request);
}

ConnectionError Connection::login_response(const ReceivedPdu& received, proto::Micros now) {
  const auto pdu = proto::iscsi::LoginResponse::decode(received.bhs);
  if (!send_queue_.empty()) {
    detail_ = "an answer before the request was sent";
    return ConnectionError::protocol;
  }
  if (pdu.itt != login_itt()) return ConnectionError::bad_itt;
  exp_stat_sn_ = pdu.sequence.stat_sn + 1;
  const std::string_view text(reinterpret_cast<const char*>(received.data.data()), received.data.size());
  const Login::Step step = login_->on_response(pdu, text);
  const bool last_word =
      step == Login::Step::send && login_->request().next_stage == proto::iscsi::LoginStage::full_feature;
  const bool told = login_->portal_group_tag().has_value() || step == Login::Step::done ||
                    (last_word && session_.settings_.only_group.has_value());
  if (told && !leads_where_it_must()) return ConnectionError::login_refused;
  switch (step) {
    case Login::Step::send:
      send_login_request();
      return ConnectionError::none;
    case Login::Step::redirected:
      detail_ = "to " + login_->redirect().host + ":" + std::to_string(login_->redirect().port);
      // A further connection belongs to where the session is: it is tried there again.
      if (cid_ == 0 && !session_.portals_.redirect(login_->redirect(), login_->redirect_is_permanent())) {
        detail_ += ", after redirects that lead nowhere";
        return ConnectionError::login_refused;
      }
      return ConnectionError::redirected;
    case Login::Step::failed:
      detail_ = login_->detail();
      login_status_ = login_->status();
      return login_->error();
    case Login::Step::done:
      break;
  }
  if (cid_ == 0) {
    session_.cmd_sn_ = pdu.sequence.exp_cmd_sn;
    session_.exp_cmd_sn_ = pdu.sequence.exp_cmd_sn;
    session_.max_cmd_sn_ = pdu.sequence.exp_cmd_sn - 1;
  }
  session_.update_cmdsn(pdu.sequence);
  start(now);
  return ConnectionError::none;
}

PortalGroup Connection::group() const {
  return {login_->portal_group_tag(), portal_, address_};
}

/// A further connection: to the portal group of the session, for another controller would not know the session, or
/// worse. The leading one: wherever it likes, unless only one group is wanted; then it ends here, before it is the
/// last word of the login and replaces whatever session is there.
bool Connection::leads_where_it_must() {
  if (cid_ == 0) {
    const std::optional<std::uint16_t>& only = session_.settings_.only_group;
    if (!only || login_->portal_group_tag() == only) return true;
    detail_ = "it leads to " + group_text(group()) + ", not to portal group " + std::to_string(*only);
    return false;
  }
  if (same_group(group(), session_.group())) return true;
  detail_ = "it leads to " + group_text(group()) + ", the session is in " + group_text(session_.group());
  return false;
}

void Connection::start(proto::Micros now) {
  parameters_ = login_->connection();
  std::string unanswered;
  if (cid_ == 0) {
    session_.parameters_ = login_->session();
    session_.tsih_ = login_->tsih();
    session_.group_ = group();
    unanswered = login_->unanswered();
  }
  login_.reset();
  const bool header = parameters_.header_digest == proto::iscsi::Digest::crc32c;
  const bool data = parameters_.data_digest == proto::iscsi::Digest::crc32c;
  reader_.set_digests(header, data);
  reader_.set_max_data_length(parameters_.own_max_recv_data_segment_length);
  send_header_digest_ = header;
  send_data_digest_ = data;
  enter(ConnectionState::started, now);
  session_.login_done(*this, now);
  if (cid_ == 0) session_.tell_unanswered(std::move(unanswered));
}

void Connection::stop(proto::Micros now) {
  if (state_ == ConnectionState::free || state_ == ConnectionState::stopped) return;
  // Before full feature phase the target does nothing for it, and at the end nobody comes after.
  const bool leave = state_ == ConnectionState::started && !session_.stopping();
  enter(ConnectionState::stopped, now);
  suspend_tx();
  reader_.reset();
  send_queue_.clear([this](Task* task) {
    if (task != nullptr) session_.put_task(*task);
  });
  if (receiving_ != nullptr) session_.put_task(*std::exchange(receiving_, nullptr));
  login_.reset();
  for (Task** task : {&ping_, &round_ping_, &logout_}) {
    if (*task != nullptr) session_.complete_task(*std::exchange(*task, nullptr), TaskState::abrt_sess_recov);
  }
  pinging_ = false;
  round_deadline_ = proto::kNever;
  last_cmd_sn_.reset();
  session_.request_socket({.kind = leave ? SocketRequest::Kind::leave : SocketRequest::Kind::close,
                           .connection = cid_,
                           .portal = {},
                           .alternates = {},
                           .address = {},
                           .patient = leave && session_.answers_});
}

void Connection::failure(ConnectionError error, proto::Micros now) {
  if (state_ == ConnectionState::free || state_ == ConnectionState::stopped) return;
  if (error == ConnectionError::header_digest || error == ConnectionError::data_digest) {
    ++session_.counters_.digest_errors;
  }
  if (error == ConnectionError::nop_timed_out) ++session_.counters_.ping_timeouts;
  session_.conn_failure(*this, error, now);
}

void Connection::on_disconnected(const std::string& why, proto::Micros now) {
  if (state_ == ConnectionState::free) return;
  session_.bell_.ring();
  if (state_ != ConnectionState::stopped) {
    detail_ = why;
    failure(state_ == ConnectionState::connecting ? ConnectionError::connect_failed : ConnectionError::closed_by_peer,
            now);
  }
  session_.forget_socket_request(cid_);  // the socket is gone already: nothing is left to be closed
  enter(ConnectionState::free, now);
  session_.connection_free(now);
}

std::size_t Connection::rx_buffers(std::span<iovec> out) noexcept {
  return wants_rx() ? reader_.rx_buffers(out) : 0;
}

void Connection::on_received(std::size_t bytes, proto::Micros now) {
  if (!wants_rx()) return;
  counters_.bytes_received += bytes;
  last_received_ = now;
  if (ping_ == nullptr) pinging_ = false;
  const ConnectionError error = reader_.on_received(bytes, *this, now);
  if (error != ConnectionError::none) failure(error, now);
  session_.bell_.ring();
}

std::size_t Connection::tx_buffers(std::span<iovec> out) noexcept {
  return send_queue_.tx_buffers(out);
}

void Connection::on_sent(std::size_t bytes, proto::Micros now) {
  if (!wants_rx()) return;  // given up meanwhile: the queue is empty
  counters_.bytes_sent += bytes;
  send_queue_.on_sent(bytes, [&](Task* task) {
    if (task == nullptr) return;
    task->last_transfer_at = now;
    session_.put_task(*task);
  });
  // Data that was asked for may have found no room until now, and nothing else may come to wake it.
  fill_send_queue();
}

proto::Micros Connection::next_deadline() const noexcept {
  const SessionSettings& settings = session_.settings_;
  switch (state_) {
    case ConnectionState::connecting:
    case ConnectionState::login:
      return state_since_ + settings.login_timeout;
    case ConnectionState::started:
      // After a Logout nothing new may be asked (RFC 7143 section 11.14); its own deadline watches over it.
      if (settings.nop_interval == 0 || session_.state_ != SessionState::logged_in) return proto::kNever;
      return std::min(round_deadline_, pinging_ ? std::max(last_received_ + settings.nop_interval, pinging_since_) +
                                                      settings.nop_timeout
                                                : last_received_ + settings.nop_interval);
    case ConnectionState::free:
    case ConnectionState::stopped:
      return proto::kNever;
  }
  return proto::kNever;
}

void Connection::on_slept(proto::Micros length, proto::Micros now) noexcept {
  // What has come in now has come after it.
  if (last_received_ < now && last_received_ != kNeverReceived) last_received_ -= length;
}

void Connection::on_deadline(proto::Micros now) {
  if (now < next_deadline()) return;
  if (state_ == ConnectionState::started) {
    if (now >= round_deadline_) detail_ = "asked whether all that was sent had arrived";
    if (pinging_ || now >= round_deadline_) {
      failure(ConnectionError::nop_timed_out, now);
    } else {
      send_ping(now);
    }
    return;
  }
  if (state_ == ConnectionState::connecting) {
    detail_ =
        has_alternates_ ? "no TCP connection came about, to no other portal either" : "no TCP connection came about";
  }
  failure(ConnectionError::login_timed_out, now);
}

}  // namespace nbdgw::initiator
