#include "gateway/initiator/session.hpp"

#include <algorithm>
#include <utility>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/scsi/sense.hpp"

namespace nbdgw::initiator {
namespace {

/// Events and socket requests that wait to be fetched; the shell fetches them after every turn, so few gather.
constexpr std::size_t kEventsReserved = 64;

}  // namespace

const char* to_string(SessionState state) noexcept {
  switch (state) {
    case SessionState::free:
      return "free";
    case SessionState::logging_in:
      return "logging in";
    case SessionState::logged_in:
      return "logged in";
    case SessionState::failed:
      return "failed";
    case SessionState::logging_out:
      return "logging out";
    case SessionState::terminated:
      return "terminated";
  }
  return "?";
}

Session::Session(SessionSettings settings, const proto::iscsi::Isid& isid, proto::RandomSource& random)
    : settings_(std::move(settings)),
      isid_(isid),
      random_(random),
      tasks_(settings_.queue_depth, settings_.connections) {
  NBDGW_ASSERT(!settings_.portals.empty() && settings_.connections > 0, "a target has a portal and a connection");
  for (std::uint16_t cid = 0; cid < settings_.connections; ++cid) {
    connections_.push_back(std::make_unique<Connection>(*this, cid));
  }
  join_at_.assign(connections_.size(), proto::kNever);
  socket_requests_.reserve(2 * connections_.size());
  events_.reserve(kEventsReserved);
}

Session::~Session() = default;

void Session::enter(SessionState state, proto::Micros now) {
  using enum SessionState;
  const bool allowed = [&] {
    switch (state) {
      case free:
        return false;
      case logging_in:
        return state_ == free || state_ == failed;
      case logged_in:
        return state_ == logging_in;
      case failed:
        return state_ == logging_in || state_ == logged_in || state_ == logging_out;
      case logging_out:
        return state_ != terminated && state_ != logging_out;
      case terminated:
        return state_ == logging_out;
    }
    return false;
  }();
  NBDGW_ASSERT(allowed, "the session's states follow each other in order");
  state_ = state;
  state_since_ = now;
}

void Session::retune(const SessionSettings& settings) {
  settings_.command_timeout = settings.command_timeout;
  settings_.abort_timeout = settings.abort_timeout;
  settings_.lu_reset_timeout = settings.lu_reset_timeout;
  settings_.target_reset_timeout = settings.target_reset_timeout;
  settings_.fast_abort = settings.fast_abort;
  settings_.login_timeout = settings.login_timeout;
  settings_.logout_timeout = settings.logout_timeout;
  settings_.nop_interval = settings.nop_interval;
  settings_.nop_timeout = settings.nop_timeout;
  settings_.queue_depth = std::max(settings_.queue_depth, settings.queue_depth);
  tasks_.grow(settings_.queue_depth);
}

void Session::tell_unit_reset(std::uint64_t lun) {
  SessionEvent event;
  event.kind = SessionEvent::Kind::unit_reset;
  event.lun = lun;
  events_.push_back(std::move(event));
}

void Session::tell_unit_event(std::uint16_t connection, std::uint64_t lun, std::span<const std::uint8_t> data) {
  // Sense behind its length, as with a SCSI Response (RFC 7143 section 11.9.4). That the list of LUNs has changed is
  // told by whichever unit comes first.
  const std::size_t length =
      data.size() < 2 ? 0 : std::min<std::size_t>(proto::load_be16(data.data()), data.size() - 2);
  const auto sense = proto::scsi::parse_sense(length == 0 ? data.first(0) : data.subspan(2, length));
  const bool whole_target = sense && sense->asc == 0x3f && sense->ascq == 0x0e;
  SessionEvent event;
  event.kind = SessionEvent::Kind::unit_event;
  event.connection = connection;
  event.lun = whole_target ? RecoveryEvent::kNoLun : lun;
  event.text =
      "the target reports an event of a LUN" + (sense ? ": " + proto::scsi::describe(*sense) : std::string());
  events_.push_back(std::move(event));
}

void Session::tell(SessionEvent::Kind kind, std::uint16_t connection, std::string text) {
  events_.push_back({.kind = kind, .connection = connection, .text = std::move(text)});
}

bool Session::next_event(SessionEvent& event) {
  if (events_.empty()) return false;
  event = std::move(events_.front());
  events_.erase(events_.begin());
  return true;
}

void Session::forget_socket_request(std::uint16_t connection) {
  std::erase_if(socket_requests_, [&](const SocketRequest& request) { return request.connection == connection; });
}

bool Session::next_socket_request(SocketRequest& request) {
  if (socket_requests_.empty()) return false;
  request = std::move(socket_requests_.front());
  socket_requests_.erase(socket_requests_.begin());
  return true;
}

bool Session::all_free() const noexcept {
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const auto& connection) { return connection->state_ == ConnectionState::free; });
}

proto::Micros Session::next_deadline() const noexcept {
  proto::Micros deadline = std::min(logout_deadline_, escalation_.next_deadline());
  if (state_ == SessionState::failed && all_free()) deadline = std::min(deadline, reopen_at_);
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    deadline = std::min(deadline, connections_[i]->next_deadline());
    if (state_ == SessionState::logged_in && connections_[i]->state_ == ConnectionState::free) {
      deadline = std::min(deadline, join_at_[i]);
    }
  }
  return deadline;
}

void Session::on_deadline(proto::Micros now) {
  if (now >= logout_deadline_) {
    tell(SessionEvent::Kind::notice, 0, "the target did not answer the logout in time: closing the connections");
    logged_out(now);
  }
  for (const auto& connection : connections_) connection->on_deadline(now);
  escalation_.on_deadline(now);
  if (state_ == SessionState::failed && now >= reopen_at_ && all_free()) open_leading(now);
  if (state_ == SessionState::logged_in) join_connections(now);
}

/// Ends a task without its answer.
void Session::fail_scsi_task(Task& task, Outcome outcome) {
  if (outcome == Outcome::aborted) {
    tasks_.expect_late_answer(task);
    task.connection->drop_unsent_data(task);
  }
  complete_scsi_task(task, outcome);
}

void Session::fail_scsi_tasks(Outcome outcome) {
  while (Task* task = running_.front()) fail_scsi_task(*task, outcome);
}

std::uint32_t Session::scsi_tasks_running() const noexcept {
  std::uint32_t count = 0;
  for (const Task* task = running_.front(); task != nullptr; task = task->list_next) ++count;
  return count;
}

proto::Micros Session::last_sign_of_life() const noexcept {
  proto::Micros last = 0;
  for (const auto& connection : connections_) last = std::max(last, connection->last_received_);
  return last;
}

void Session::fail_pending(Outcome outcome) {
  while (pending_first_ != nullptr) {
    ScsiCommand& command = *pending_first_;
    pending_first_ = command.next;
    command.outcome = outcome;
    done(command);
  }
  pending_last_ = nullptr;
}

}  // namespace nbdgw::initiator
