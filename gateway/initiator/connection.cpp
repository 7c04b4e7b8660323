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
  parameters_ = {};
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
  // Outside of what the pool gives out, so that it collides with no task of another connection.
  const std::uint32_t itt = (session_.tasks_.age() << TaskPool::kAgeShift) | (TaskPool::kIndexMask - 1 - cid_);
  stream_.begin_login(session_.settings_, identity, session_.random_, itt);
  stream_.send_login_request(session_.cmd_sn_);
}

ConnectionError Connection::login_response(const ReceivedPdu& received, proto::Micros now) {
  const Login::Step step = stream_.on_login_response(received);
  const Login& login = stream_.login();
  const bool last_word =
      step == Login::Step::send && login.request().next_stage == proto::iscsi::LoginStage::full_feature;
  const bool told = login.portal_group_tag().has_value() || step == Login::Step::done ||
                    (last_word && session_.settings_.only_group.has_value());
  if (told && !leads_where_it_must()) return ConnectionError::login_refused;
  switch (step) {
    case Login::Step::send:
      stream_.send_login_request(session_.cmd_sn_);
      return ConnectionError::none;
    case Login::Step::redirected:
      detail_ = login.detail();
      // A further connection belongs to where the session is: it is tried there again.
      if (cid_ == 0 && !session_.portals_.redirect(login.redirect(), login.redirect_is_permanent())) {
        detail_ += ", after redirects that lead nowhere";
        return ConnectionError::login_refused;
      }
      return login.error();
    case Login::Step::failed:
      detail_ = login.detail();
      login_status_ = login.status();
      return login.error();
    case Login::Step::done:
      break;
  }
  const proto::iscsi::TargetSequence sequence = proto::iscsi::LoginResponse::decode(received.bhs).sequence;
  if (cid_ == 0) {
    session_.cmd_sn_ = sequence.exp_cmd_sn;
    session_.exp_cmd_sn_ = sequence.exp_cmd_sn;
    session_.max_cmd_sn_ = sequence.exp_cmd_sn - 1;
  }
  session_.update_cmdsn(sequence);
  start(now);
  return ConnectionError::none;
}

PortalGroup Connection::group() const {
  return {stream_.login().portal_group_tag(), portal_, address_};
}

/// A further connection: to the portal group of the session, for another controller would not know the session, or
/// worse. The leading one: wherever it likes, unless only one group is wanted; then it ends here, before it is the
/// last word of the login and replaces whatever session is there.
bool Connection::leads_where_it_must() {
  if (cid_ == 0) {
    const std::optional<std::uint16_t>& only = session_.settings_.only_group;
    if (!only || stream_.login().portal_group_tag() == only) return true;
    detail_ = "it leads to " + group_text(group()) + ", not to portal group " + std::to_string(*only);
    return false;
  }
  if (same_group(group(), session_.group())) return true;
  detail_ = "it leads to " + group_text(group()) + ", the session is in " + group_text(session_.group());
  return false;
}

void Connection::start(proto::Micros now) {
  const Login& login = stream_.login();
  parameters_ = login.connection();
  std::string unanswered;
  if (cid_ == 0) {
    session_.parameters_ = login.session();
    session_.tsih_ = login.tsih();
    session_.group_ = group();
    unanswered = login.unanswered();
  }
  stream_.end_login();
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
  stream_.close([this](Task* task) {
    if (task != nullptr) session_.put_task(*task);
  });
  if (receiving_ != nullptr) session_.put_task(*std::exchange(receiving_, nullptr));
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
  return wants_rx() ? stream_.rx_buffers(out) : 0;
}

void Connection::on_received(std::size_t bytes, proto::Micros now) {
  if (!wants_rx()) return;
  last_received_ = now;
  if (ping_ == nullptr) pinging_ = false;
  const ConnectionError error = stream_.on_received(bytes, *this, now);
  if (error != ConnectionError::none) failure(error, now);
  session_.bell_.ring();
}

std::size_t Connection::tx_buffers(std::span<iovec> out) noexcept {
  return stream_.send_queue().tx_buffers(out);
}

void Connection::on_sent(std::size_t bytes, proto::Micros now) {
  if (!wants_rx()) return;  // given up meanwhile: the queue is empty
  stream_.on_sent(bytes, [&](Task* task) {
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
    detail_ = kNoTcpConnection;
    if (has_alternates_) detail_ += ", to no other portal either";
  }
  failure(ConnectionError::login_timed_out, now);
}

}  // namespace nbdgw::initiator
