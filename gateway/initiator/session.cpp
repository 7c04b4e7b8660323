#include "gateway/initiator/session.hpp"

#include <algorithm>
#include <utility>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/sense.hpp"
#include "proto/serial.hpp"

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
        return state_ == free || state_ == logging_in || state_ == logged_in || state_ == logging_out;
      case logging_out:
        return state_ != terminated && state_ != logging_out;
      case terminated:
        return state_ == logging_out;
    }
    return false;
  }();
  NBDGW_ASSERT(allowed, "the session's states follow each other in order");
  const bool turned = state_ == free || (state_ == logged_in) != (state == logged_in);
  if (turned) turned_at_ = now;
  state_ = state;
  bell_.ring();  // there are other deadlines now, at least
}

void Session::retune(const SessionSettings& settings) {
  settings_.chap.secret = settings.chap.secret;
  settings_.chap.mutual_secret = settings.chap.mutual_secret;
  settings_.command_timeout = settings.command_timeout;
  settings_.slow_command_timeout = settings.slow_command_timeout;
  settings_.abort_timeout = settings.abort_timeout;
  settings_.lu_reset_timeout = settings.lu_reset_timeout;
  settings_.target_reset_timeout = settings.target_reset_timeout;
  settings_.fast_abort = settings.fast_abort;
  settings_.after_reinstatement = settings.after_reinstatement;
  settings_.other_group = settings.other_group;
  settings_.time2wait = settings.time2wait;
  settings_.login_timeout = settings.login_timeout;
  settings_.logout_timeout = settings.logout_timeout;
  settings_.nop_interval = settings.nop_interval;
  settings_.nop_timeout = settings.nop_timeout;
  settings_.queue_depth = std::max(settings_.queue_depth, settings.queue_depth);
  tasks_.grow(settings_.queue_depth);
  bell_.ring();
}

void Session::tell_unit_reset(std::uint64_t lun) {
  SessionEvent event;
  event.kind = SessionEvent::Kind::unit_reset;
  event.lun = lun;
  tell(std::move(event));
}

void Session::tell_unit_answer(const ScsiCommand& command) {
  if (command.status != static_cast<std::uint8_t>(proto::scsi::Status::check_condition)) return;
  SessionEvent event;
  event.kind = SessionEvent::Kind::unit_answer;
  event.lun = command.lun;
  event.answer = std::make_shared<const ScsiCommand>(command);
  tell(std::move(event));
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
  tell(std::move(event));
}

/// Once, and not at every login of a target that is always so.
void Session::tell_unanswered(std::string keys) {
  if (!keys.empty() && keys != unanswered_) {
    tell(SessionEvent::Kind::notice, 0,
         "the target answered the login without these keys, for which the defaults of RFC 7143 hold: " + keys);
  }
  unanswered_ = std::move(keys);
}

void Session::tell(SessionEvent::Kind kind, std::uint16_t connection, std::string text) {
  tell({.kind = kind, .connection = connection, .text = std::move(text)});
}

void Session::tell(SessionEvent event) {
  events_.push_back(std::move(event));
  bell_.ring();
}

void Session::request_socket(SocketRequest request) {
  socket_requests_.push_back(std::move(request));
  bell_.ring();
}

bool Session::request_recovery(const RecoveryRequest& request) {
  if (!escalation_.request(request)) return false;
  bell_.ring();
  return true;
}

bool Session::next_event(SessionEvent& event) {
  if (events_.empty()) return false;
  event = std::move(events_.front());
  events_.erase(events_.begin());
  // What was queued until now comes from somebody who did not know of it. Kept, it would be the first to be sent
  // after the next login, before anybody has looked whether that leads to the same LUN.
  if (event.kind == SessionEvent::Kind::lost) fail_pending(Outcome::transport_disrupted);
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
  if (may_want_errand() && state_ == SessionState::logged_in) {
    deadline = std::min(deadline, escalation_.held().errand_due());
  }
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    deadline = std::min(deadline, connections_[i]->next_deadline());
    if (may_join() && connections_[i]->state_ == ConnectionState::free) {
      deadline = std::min(deadline, join_at_[i]);
    }
  }
  return deadline;
}

void Session::on_deadline(proto::Micros now) {
  bell_.ring();
  if (now >= logout_deadline_) {
    tell(SessionEvent::Kind::notice, 0, "the target did not answer the logout in time: closing the connections");
    logged_out(now);
  }
  for (const auto& connection : connections_) connection->on_deadline(now);
  escalation_.on_deadline(now);
  if (state_ == SessionState::failed && now >= reopen_at_ && all_free()) open_leading(now);
  join_connections(now);
}

/// Ends a task without its answer: a function over it has completed.
void Session::abort_scsi_task(Task& task, const Proof& proof) {
  tasks_.expect_late_answer(task);
  task.connection->drop_unsent_data(task);
  task.command->proof = proof;
  complete_scsi_task(task, Outcome::aborted);
}

/// The session is about to lose its connections. Once their send queues are gone nobody knows any more what had left.
void Session::note_how_far_tasks_went() noexcept {
  for (Task* task = running_.front(); task != nullptr; task = task->list_next) {
    const bool write = task->command->direction == Direction::write;
    task->all_data_left = task->references == 0 && (!write || task->bytes_sent >= task->command->data_length);
    if (NBDGW_MUTANT(sent_data_not_noted)) task->all_data_left = false;
  }
  for (const auto& connection : connections_) {
    connection->stream_.send_queue().for_each_unsent_command([](Task& task) { task.left = false; });
  }
}

/// Its connection is gone. What could still do harm at the target is held until there is a proof that it cannot.
void Session::lose_scsi_task(Task& task, proto::Micros now) {
  ScsiCommand& command = *task.command;
  command.lost_by_us = lost_by_us_ && !NBDGW_MUTANT(own_losses_count);
  if (!task.left || writes_nothing(command) || NBDGW_MUTANT(lost_writes_go_at_once)) {
    command.proof = Proof(task.left ? Proof::Kind::harmless : Proof::Kind::never_sent);
    return complete_scsi_task(task, Outcome::transport_disrupted);
  }
  escalation_.held().hold(
      command, group_,
      {.acknowledged = proto::serial_less(task.cmd_sn, exp_cmd_sn_), .all_data_sent = task.all_data_left}, now);
  task.command = nullptr;
  complete_task(task, TaskState::abrt_sess_recov);
}

void Session::lose_scsi_tasks(proto::Micros now) {
  while (Task* task = running_.front()) lose_scsi_task(*task, now);
}

/// The end, for all commands wherever they are.
void Session::give_up_commands() {
  note_what_is_left();
  while (Task* task = running_.front()) complete_scsi_task(*task, Outcome::path_lost);
  fail_pending(Outcome::path_lost);
  escalation_.held().give_up();
}

std::uint32_t Session::scsi_tasks_running() const noexcept {
  std::uint32_t count = 0;
  for (const Task* task = running_.front(); task != nullptr; task = task->list_next) ++count;
  return count;
}

proto::Micros Session::last_sign_of_life() const noexcept {
  proto::Micros last = Connection::kNeverReceived;
  for (const auto& connection : connections_) last = std::max(last, connection->last_received_);
  return last;
}

void Session::on_slept(proto::Micros length, proto::Micros now) noexcept {
  for (const auto& connection : connections_) connection->on_slept(length, now);
  if (silent_since_ != proto::kNever) silent_since_ -= length;
  bell_.ring();
}

void Session::fail_pending(Outcome outcome) {
  while (ScsiCommand* const command = pending_.take_any()) {
    command->outcome = outcome;
    if (outcome == Outcome::transport_disrupted) command->proof = Proof(Proof::Kind::never_sent);
    done(*command);
  }
}

}  // namespace nbdgw::initiator
