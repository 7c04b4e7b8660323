// How a session comes up, is lost, and comes back (RFC 7143 sections 6.3 and 7.1.4, ErrorRecoveryLevel 0).
#include <algorithm>
#include <utility>

#include "gateway/initiator/session.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {

using proto::iscsi::LoginStatus;

namespace {

constexpr proto::Micros kFirstBackoff = 100 * proto::kMillisecond;
constexpr proto::Micros kMaxBackoff = 5 * proto::kSecond;
/// A further connection that could not join for want of TCP or time is tried again after this.
constexpr proto::Micros kJoinRetry = 2 * proto::kSecond;
/// A session that was lost before has not shown that the next one will last: the pause goes on growing.
constexpr proto::Micros kLived = 500 * proto::kMillisecond;
/// Where no client has anything to do, a session has lived after this.
constexpr proto::Micros kLongLife = 30 * proto::kSecond;
/// One that is ended by the target before, so many times in a row, may be in another one's way.
constexpr proto::Micros kShortLife = 5 * proto::kSecond;
constexpr std::uint32_t kShortLives = 3;
/// Sessions lost in a row for want of nothing but the answer to a ping: a path that is gone does not let the next
/// login through at once, so the target may be one that answers none.
constexpr std::uint32_t kUnansweredPings = 2;

/// A refusal that trying again in the same session will not change.
bool is_final_for_session(LoginStatus status) noexcept {
  return (static_cast<std::uint16_t>(status) >> 8) == 2;
}

}  // namespace

void Session::setup(proto::Micros now) {
  NBDGW_ASSERT(state_ == SessionState::free, "a session is set up once");
  if (settings_.first_portal) {
    portals_.begin_with(*settings_.first_portal);
    group_.portal = *settings_.first_portal;
    group_.address = settings_.first_address;
  }
  if (settings_.first_pause <= 0) return open_leading(now);
  trouble_ = "the process before this one has left a session without a word: its login waits a moment";
  enter(SessionState::failed, now);
  reopen_at_ = now + settings_.first_pause;
}

void Session::open_leading(proto::Micros now) {
  enter(SessionState::logging_in, now);
  reopen_at_ = proto::kNever;
  time2wait_.reset();
  tsih_ = 0;
  progress_ = false;
  const Portal& portal = portals_.next();
  connections_[0]->setup(portal, portals_.same_address() && portal == group_.portal ? group_.address : "",
                         portals_.alternates(), now);
}

/// Not before what a loss has left to reset was reset: istgt's LOGICAL UNIT RESET closes the other connections of the
/// session, and those that log in just then can leave it hanging for good.
bool Session::may_join() const noexcept {
  return state_ == SessionState::logged_in && !escalation_.held().awaits_reset();
}

void Session::join_connections(proto::Micros now) {
  if (!may_join()) return;
  for (std::size_t i = 1; i < connections_.size(); ++i) {
    if (connections_[i]->state_ != ConnectionState::free || now < join_at_[i]) continue;
    join_at_[i] = proto::kNever;
    connections_[i]->setup(connections_[0]->portal_, connections_[0]->address_, {}, now);
  }
}

void Session::login_done(Connection& connection, proto::Micros now) {
  if (connection.cid_ != 0) {
    tell(SessionEvent::Kind::connection_joined, connection.cid_, "joined, to " + portal_text(connection.portal_));
    return;
  }
  enter(SessionState::logged_in, now);
  logged_in_at_ = now;
  ++counters_.logins;
  portals_.on_login();
  trouble_.clear();
  resume_queue();
  escalation_.on_session_up(now);
  const auto granted = std::min<std::size_t>(parameters_.max_connections, connections_.size());
  for (std::size_t i = 1; i < connections_.size(); ++i) join_at_[i] = i < granted ? now : proto::kNever;
  tell(SessionEvent::Kind::logged_in, 0, login_text(connection, granted));
  if (silent_since_ != proto::kNever) events_.back().outage = now - silent_since_;
  silent_since_ = proto::kNever;
  events_.back().own_doing = std::exchange(own_doing_, false);
  tell_of_held_commands();
  join_connections(now);
}

std::string Session::login_text(const Connection& connection, std::size_t granted) const {
  std::string text = "logged in to " + settings_.target_name + " at " + portal_text(connection.portal_) +
                     ", connections granted " + std::to_string(granted) + " of " +
                     std::to_string(connections_.size());
  if (parameters_.default_time2wait > 0 && settings_.time2wait == Time2Wait::ignore) {
    text += ", DefaultTime2Wait of " + std::to_string(parameters_.default_time2wait) + " s ignored (time2wait)";
  }
  return text;
}

void Session::tell_of_held_commands() {
  const std::size_t count = escalation_.held().count_elsewhere();
  if (count == 0) return;
  tell(SessionEvent::Kind::notice, 0,
       std::to_string(count) + " write(s) are held: they were under way in " +
           group_text(escalation_.held().elsewhere()) + ", and nothing that can be done from " + group_text(group_) +
           " proves that they will not run there any more; they wait for a session with the former");
}

std::optional<PortalGroup> Session::take_errand(proto::Micros now) {
  if (state_ != SessionState::logged_in) return std::nullopt;
  return escalation_.held().take_errand(now);
}

void Session::errand_over(const PortalGroup* reinstated, proto::Micros now) {
  bell_.ring();
  HeldCommands& held = escalation_.held();
  held.errand_over(reinstated != nullptr, now);
  if (reinstated == nullptr) return;
  std::string proof;
  const std::uint32_t count = held.on_reinstated(*reinstated, proof);
  tell(SessionEvent::Kind::notice, 0,
       "the former session in " + group_text(*reinstated) + " was reinstated on the side: " + std::to_string(count) +
           " write(s) come back" + (proof.empty() ? "" : " (" + proof + ")") +
           (held.awaits_reset() ? ", the others after a reset of their LUN" : ""));
}

void Session::conn_failure(Connection& connection, ConnectionError error, proto::Micros now) {
  std::string why = "connection " + std::to_string(connection.cid_) + " to " + portal_text(connection.portal_) +
                    ": " + describe(error, connection.detail_);
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
  lost_by_us_ = own_doing_ || error == ConnectionError::portal_left;
  answers_ = settings_.nop_interval != 0 && error != ConnectionError::nop_timed_out;
  if (error == ConnectionError::redirected) {  // sent on, not failed
    tell(SessionEvent::Kind::notice, connection.cid_, std::move(why));
    recover(now);
    reopen_at_ = now;
    return;
  }
  if (state_ == SessionState::logged_in) {
    ++counters_.losses;
    why += loss_hint(connection, error, now);
    tell(SessionEvent::Kind::lost, connection.cid_, std::move(why));
    events_.back().stolen = short_lives_ >= kShortLives;
    portals_.on_loss();
  } else {
    ++counters_.login_failures;
    unanswered_pings_ = 0;
    portals_.on_login_failed(connection.state_ == ConnectionState::login, why);
    tell(SessionEvent::Kind::login_failed, connection.cid_, std::move(why));
  }
  recover(now);
  back_off(now);
}

/// What a loss that is like the ones before it may come from, for people; empty: nothing to say.
std::string Session::loss_hint(const Connection& connection, ConnectionError error, proto::Micros now) {
  const bool ended_by_target = error == ConnectionError::closed_by_peer || error == ConnectionError::asked_to_drop;
  short_lives_ = ended_by_target && now - logged_in_at_ < kShortLife ? short_lives_ + 1 : 0;
  unanswered_pings_ = only_a_ping_is_missing(connection, error, now) ? unanswered_pings_ + 1 : 0;
  if (short_lives_ >= kShortLives) {
    return "; that is so again and again, soon after the login: is there a second gateway, or another initiator, "
           "with the name " +
           settings_.initiator_name + "?";
  }
  if (unanswered_pings_ < kUnansweredPings) return {};
  return "; that is so " + std::to_string(unanswered_pings_) +
         " times in a row, with nothing else unanswered, and the target lets us in again at once: if it answers no "
         "NOP-Out at all, set timeouts.nop_interval: 0s for it (then only a command finds out that a path is gone)";
}

/// No command is waited for, on this connection or, for as long as a ping may take, on another one, nor anything
/// else; and the ping has left.
bool Session::only_a_ping_is_missing(const Connection& connection, ConnectionError error,
                                     proto::Micros now) const noexcept {
  if (error != ConnectionError::nop_timed_out || connection.ping_ == nullptr || connection.round_ping_ != nullptr ||
      connection.wants_tx() || !pending_.empty() || escalation_.tmf().state != TmfState::initial) {
    return false;
  }
  for (const Task* task = running_.front(); task != nullptr; task = task->list_next) {
    if (task->connection == &connection || now - task->last_transfer_at >= settings_.nop_timeout) return false;
  }
  return true;
}

void Session::join_failed(Connection& connection, const std::string& why, proto::Micros now) {
  const bool final = is_final_for_session(connection.login_status_);
  connection.login_status_ = LoginStatus::success;
  join_at_[connection.cid_] = final ? proto::kNever : now + kJoinRetry;
  tell(SessionEvent::Kind::notice, connection.cid_,
       why + (final ? "; the session goes on without it" : "; it will be tried again"));
  connection.stop(now);
}

void Session::recover(proto::Micros now) {
  const bool was_up = state_ == SessionState::logged_in || state_ == SessionState::logging_out;
  if (was_up) silent_since_ = std::min(silent_since_, last_sign_of_life());
  if (was_up && !time2wait_ && settings_.time2wait == Time2Wait::negotiated) {
    wait_before_reopen(parameters_.default_time2wait * proto::kSecond);
  }
  const std::uint32_t tasks = scsi_tasks_running();
  suspend_queue();
  forget_last_ends(Outcome::transport_disrupted);
  note_how_far_tasks_went();
  for (const auto& connection : connections_) connection->stop(now);
  lose_scsi_tasks(now);
  // Those not sent yet go back too. Kept here they would be the first to be sent after the next login, before anybody
  // has looked whether it leads to the same LUN.
  fail_pending(Outcome::transport_disrupted);
  if (was_up) escalation_.on_session_lost(trouble_, tasks, now);
  tasks_.advance_age();
  enter(SessionState::failed, now);
}

void Session::back_off(proto::Micros now) {
  // The first try is at once. One that fails, and a session lost again soon, or before any command of a client got
  // through it, waits longer each time.
  const proto::Micros lived = logged_in_at_ == proto::kNever ? 0 : now - std::exchange(logged_in_at_, proto::kNever);
  if ((progress_ && lived >= kLived) || lived >= kLongLife) backoff_ = 0;
  if (NBDGW_MUTANT(no_pause_between_logins) || (lived > 0 && NBDGW_MUTANT(any_login_is_success))) backoff_ = 0;
  reopen_at_ = now + backoff_;
  if (backoff_ > 0) reopen_at_ -= proto::random_below(random_, static_cast<std::uint32_t>(backoff_ / 4));
  backoff_ = backoff_ == 0 ? kFirstBackoff : std::min(2 * backoff_, kMaxBackoff);
  reopen_at_ = std::max(reopen_at_, now + time2wait_.value_or(0));
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
    lost_by_us_ = false;
    answers_ = true;
    tell(SessionEvent::Kind::lost, 0, trouble_);
    recover(now);
    back_off(now);
    return;
  }
  escalation_.on_session_lost(trouble_, scsi_tasks_running(), now);
  forget_last_ends(Outcome::path_lost);
  for (const auto& connection : connections_) connection->stop(now);
  give_up_commands();
}

bool Session::drop_connection(std::uint16_t index, const std::string& why, proto::Micros now) {
  if (index >= connections_.size()) return false;
  Connection& connection = *connections_[index];
  if (state_ != SessionState::logged_in || connection.state_ != ConnectionState::started) return false;
  connection.detail_ = why;
  connection.failure(ConnectionError::dropped, now);
  return true;
}

bool Session::leave_portal(const std::string& why, proto::Micros now) {
  if (state_ != SessionState::logged_in || !portals_.has_others()) return false;
  Connection& leading = *connections_[0];
  portals_.leave(why);
  leading.detail_ = why;
  leading.failure(ConnectionError::portal_left, now);
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
