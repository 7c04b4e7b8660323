// How a session comes up, is lost, and comes back (RFC 7143 sections 6.3 and 7.1.4, ErrorRecoveryLevel 0).
#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"

namespace nbdgw::initiator {

using proto::iscsi::LoginStatus;

namespace {

constexpr proto::Micros kFirstBackoff = 100 * proto::kMillisecond;
constexpr proto::Micros kMaxBackoff = 5 * proto::kSecond;
/// A further connection that could not join for want of TCP or time is tried again after this.
constexpr proto::Micros kJoinRetry = 2 * proto::kSecond;
/// Redirects followed in a row before we say that they lead nowhere.
constexpr std::uint8_t kMaxRedirects = 8;

std::string to_text(const Portal& portal) {
  const bool v6 = portal.host.find(':') != std::string::npos;
  return (v6 ? "[" + portal.host + "]" : portal.host) + ":" + std::to_string(portal.port);
}

/// A refusal that trying again in the same session will not change.
bool is_final_for_session(LoginStatus status) noexcept {
  return (static_cast<std::uint16_t>(status) >> 8) == 2;
}

}  // namespace

void Session::setup(proto::Micros now) {
  NBDGW_ASSERT(state_ == SessionState::free, "a session is set up once");
  open_leading(now);
}

void Session::open_leading(proto::Micros now) {
  enter(SessionState::logging_in, now);
  reopen_at_ = proto::kNever;
  time2wait_ = 0;
  tsih_ = 0;
  progress_ = false;
  connections_[0]->setup(redirect_ ? *redirect_ : settings_.portals[portal_index_], now);
}

void Session::join_connections(proto::Micros now) {
  for (std::size_t i = 1; i < connections_.size(); ++i) {
    if (connections_[i]->state_ != ConnectionState::free || now < join_at_[i]) continue;
    join_at_[i] = proto::kNever;
    connections_[i]->setup(connections_[0]->portal_, now);
  }
}

void Session::login_done(Connection& connection, proto::Micros now) {
  if (connection.cid_ != 0) {
    tell(SessionEvent::Kind::connection_joined, connection.cid_, "joined, to " + to_text(connection.portal_));
    return;
  }
  enter(SessionState::logged_in, now);
  ++counters_.logins;
  redirects_ = 0;
  trouble_.clear();
  resume_queue();
  escalation_.on_session_up(now);
  const auto granted = std::min<std::size_t>(parameters_.max_connections, connections_.size());
  for (std::size_t i = 1; i < connections_.size(); ++i) join_at_[i] = i < granted ? now : proto::kNever;
  tell(SessionEvent::Kind::logged_in, 0,
       "logged in to " + settings_.target_name + " at " + to_text(connection.portal_) + ", connections granted " +
           std::to_string(granted) + " of " + std::to_string(connections_.size()));
  if (silent_since_ != proto::kNever) events_.back().outage = now - silent_since_;
  silent_since_ = proto::kNever;
  events_.back().own_doing = std::exchange(own_doing_, false);
  join_connections(now);
}

void Session::conn_failure(Connection& connection, ConnectionError error, proto::Micros now) {
  std::string why =
      "connection " + std::to_string(connection.cid_) + " to " + to_text(connection.portal_) + ": " + describe(error);
  if (!connection.detail_.empty()) why += " (" + connection.detail_ + ")";

  if (connection.cid_ != 0 && connection.state_ != ConnectionState::started) {
    join_failed(connection, why, now);
    return;
  }
  if (state_ == SessionState::logging_out) {  // as good as an answer
    logged_out(now);
    return;
  }
  trouble_ = why;
  own_doing_ = error == ConnectionError::session_reset || error == ConnectionError::dropped;
  answers_ = settings_.nop_interval != 0 && error != ConnectionError::nop_timed_out;
  if (error == ConnectionError::redirected) {  // sent on, not failed
    tell(SessionEvent::Kind::notice, connection.cid_, std::move(why));
    recover(now);
    reopen_at_ = now;
    return;
  }
  if (state_ == SessionState::logged_in) {
    ++counters_.losses;
    tell(SessionEvent::Kind::lost, connection.cid_, std::move(why));
    if (!redirect_is_permanent_) redirect_.reset();
  } else {
    ++counters_.login_failures;
    tell(SessionEvent::Kind::login_failed, connection.cid_, std::move(why));
    if (redirect_) {
      redirect_.reset();
    } else {
      portal_index_ = (portal_index_ + 1) % settings_.portals.size();
    }
  }
  recover(now);
  back_off(now);
}

void Session::join_failed(Connection& connection, const std::string& why, proto::Micros now) {
  const bool final = is_final_for_session(connection.login_status_);
  connection.login_status_ = LoginStatus::success;
  join_at_[connection.cid_] = final ? proto::kNever : now + kJoinRetry;
  tell(SessionEvent::Kind::notice, connection.cid_,
       why + (final ? "; the session goes on without it" : "; it will be tried again"));
  connection.stop(now);
}

/// False when too many were followed in a row: then the configured portals are the way back.
bool Session::redirect(const Portal& portal, bool permanent) {
  if (redirects_ == kMaxRedirects) {
    redirects_ = 0;
    redirect_.reset();
    return false;
  }
  ++redirects_;
  redirect_ = portal;
  redirect_is_permanent_ = permanent;
  return true;
}

void Session::recover(proto::Micros now) {
  const bool was_up = state_ == SessionState::logged_in || state_ == SessionState::logging_out;
  if (was_up) silent_since_ = std::min(silent_since_, last_sign_of_life());
  const std::uint32_t tasks = scsi_tasks_running();
  suspend_queue();
  for (const auto& connection : connections_) connection->stop(now);
  fail_scsi_tasks(Outcome::transport_disrupted);
  // Those not sent yet go back too. Kept here they would be the first to be sent after the next login, before anybody
  // has looked whether it leads to the same LUN.
  fail_pending(Outcome::transport_disrupted);
  if (was_up) escalation_.on_session_lost(trouble_, tasks, now);
  tasks_.advance_age();
  enter(SessionState::failed, now);
}

void Session::back_off(proto::Micros now) {
  // The first try is at once. One that fails, and a session lost again before any command got through it, waits
  // longer each time.
  if (progress_) backoff_ = 0;
  reopen_at_ = now + backoff_;
  if (backoff_ > 0) reopen_at_ -= proto::random_below(random_, static_cast<std::uint32_t>(backoff_ / 4));
  backoff_ = backoff_ == 0 ? kFirstBackoff : std::min(2 * backoff_, kMaxBackoff);
  reopen_at_ = std::max(reopen_at_, now + time2wait_);
}

void Session::connection_free(proto::Micros now) {
  if (!all_free()) return;
  if (stopping_ && state_ == SessionState::logging_out) {
    enter(SessionState::terminated, now);
    tell(SessionEvent::Kind::terminated, 0, "closed");
    return;
  }
  if (state_ == SessionState::failed && now >= reopen_at_) open_leading(now);
}

void Session::begin_logout(proto::Micros now) {
  if (state_ != SessionState::logged_in) return;
  enter(SessionState::logging_out, now);
  logout_deadline_ = now + settings_.logout_timeout;
  // After the Logout nothing new may be sent (RFC 7143 section 11.14); data that is still asked for is left, too:
  // what has not ended by then is sent again after the next login.
  suspend_queue();
  for (const auto& connection : connections_) connection->suspend_tx();
  connections_[0]->send_logout(proto::iscsi::LogoutReason::close_session, now);
}

void Session::logged_out(proto::Micros now) {
  logout_deadline_ = proto::kNever;
  if (!stopping_) {
    trouble_ = "logged out at the target's wish";
    answers_ = true;
    tell(SessionEvent::Kind::lost, 0, trouble_);
    progress_ = true;
    recover(now);
    back_off(now);
    return;
  }
  escalation_.on_session_lost(trouble_, scsi_tasks_running(), now);
  for (const auto& connection : connections_) connection->stop(now);
  fail_scsi_tasks(Outcome::path_lost);
  fail_pending(Outcome::path_lost);
}

bool Session::drop_connection(std::uint16_t index, const std::string& why, proto::Micros now) {
  if (index >= connections_.size()) return false;
  Connection& connection = *connections_[index];
  if (state_ != SessionState::logged_in || connection.state_ != ConnectionState::started) return false;
  connection.detail_ = why;
  connection.failure(ConnectionError::dropped, now);
  return true;
}

void Session::teardown(proto::Micros now) {
  if (stopping_) return;
  stopping_ = true;
  if (state_ == SessionState::logged_in) {
    begin_logout(now);
    return;
  }
  if (state_ != SessionState::logging_out) {
    enter(SessionState::logging_out, now);
    logged_out(now);
  }
  connection_free(now);
}

}  // namespace nbdgw::initiator
