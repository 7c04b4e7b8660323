#include "gateway/target/session.hpp"

#include <algorithm>
#include <bit>

#include "gateway/target/connection.hpp"
#include "gateway/target/server.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::target {

using namespace proto::iscsi;

Session::Session(Server& server, SessionIdentity identity, std::uint16_t tsih, const SessionParameters& parameters,
                 std::uint32_t first_cmd_sn)
    : server_(server),
      identity_(std::move(identity)),
      tsih_(tsih),
      parameters_(parameters),
      depth_(server.options().queue_depth),
      exp_cmd_sn_(first_cmd_sn),
      parked_(std::bit_ceil(std::size_t{depth_})),
      table_(depth_ + kMaxImmediateTasks) {
  if (identity_.target == nullptr) return;
  attentions_.resize(identity_.target->units.size());
  for (const LogicalUnit& unit : identity_.target->units)
    establish_attention(unit, proto::scsi::asc::kPowerOnOrReset);
}

// ---- connections
// ----------------------------------------------------------------------------------------------------

Connection* Session::find_connection(std::uint16_t cid) const noexcept {
  const auto found =
      std::find_if(connections_.begin(), connections_.end(), [&](const auto* c) { return c->cid() == cid; });
  return found == connections_.end() ? nullptr : *found;
}

void Session::add(Connection& connection) {
  connections_.push_back(&connection);
}

void Session::remove(Connection& connection) {
  const auto found = std::find(connections_.begin(), connections_.end(), &connection);
  if (found == connections_.end()) return;
  connections_.erase(found);
  abort_tasks_of(connection);
  if (connections_.empty()) close({});
}

void Session::close(const std::string& reason) {
  if (closed_) return;
  closed_ = true;
  for (Task* task = tasks_.first(); task != nullptr;) {
    Task* following = task->next;
    abort(*task);
    task = following;
  }
  const std::vector<Connection*> connections = std::move(connections_);
  connections_.clear();
  for (Connection* connection : connections) connection->detach(reason);
  server_.bury(*this);
}

// ---- tasks: from the pool and back
// ----------------------------------------------------------------------------------

Session::Intake Session::begin_task(Connection& connection, const Bhs& header, Task*& task) {
  const Prefix prefix = Prefix::decode(header);
  const std::uint32_t cmd_sn = proto::load_be32(&header[24]);
  if (!prefix.immediate && (!in_window(cmd_sn) || parked(cmd_sn).taken)) return Intake::ignored;
  if (prefix.itt != kReservedTag && table_.find(prefix.itt) != nullptr) return Intake::tag_in_use;
  if (prefix.immediate && immediate_ >= kMaxImmediateTasks) return Intake::too_many_immediate;

  if (free_ == nullptr) {
    // As many as the window allows, and what connections are still sending of others: bounded by both.
    pool_.push_back(std::make_unique<Task>());
    free_ = pool_.back().get();
  }
  Task& fresh = *free_;
  free_ = fresh.next;
  fresh.next = nullptr;
  fresh.session = this;
  fresh.connection = &connection;
  fresh.state = TaskState::receiving;
  fresh.opcode = static_cast<Opcode>(prefix.opcode);
  fresh.immediate = prefix.immediate;
  fresh.itt = prefix.itt;
  fresh.cmd_sn = cmd_sn;
  fresh.request = header;
  if (fresh.is_scsi()) {
    fresh.command = ScsiCommandPdu::decode(header);
    fresh.unit = is_discovery() ? nullptr : identity_.target->find(fresh.command.lun);
    fresh.plan = plan_command(fresh.cdb(), fresh.unit);
    if (fresh.plan.direction == DataDirection::out && fresh.command.write && !fresh.command.read)
      fresh.out_length = std::min(fresh.plan.length, fresh.command.expected_length);
  }
  if (fresh.immediate) {
    fresh.counted = true;
    ++immediate_;
  }
  tasks_.push_back(fresh);
  if (fresh.itt != kReservedTag) table_.insert(fresh);
  task = &fresh;
  return Intake::taken;
}

void Session::allocate(Task& task, std::uint32_t length) {
  if (length == 0) return;
  task.data.resize(proto::BufferPool::blocks_for(length));
  const std::size_t entries = server_.buffers().allocate(length, task.data);
  task.data.resize(entries);
  task.data_length = entries > 0 ? length : 0;
  task.no_room = entries == 0;
}

void Session::free_data(Task& task) noexcept {
  server_.buffers().release(task.data);
  task.data.clear();
  task.data_length = 0;
}

void Session::uncount(Task& task) noexcept {
  if (!task.counted) return;
  task.counted = false;
  --(task.immediate ? immediate_ : active_);
}

void Session::finish(Task& task) noexcept {
  uncount(task);
  table_.erase(task);
  task.state = TaskState::finished;
}

void Session::release(Task& task) noexcept {
  NBDGW_ASSERT(task.state != TaskState::free && task.on_wire == 0, "a task is released once, when it has left");
  uncount(task);
  if (task.itt != kReservedTag) table_.erase(task);
  free_data(task);
  tasks_.remove(task);
  std::vector<iovec> data = std::move(task.data);  // keeps its room
  task = Task();
  task.data = std::move(data);
  task.next = free_;
  free_ = &task;
}

void Session::abort(Task& task) {
  if (task.state == TaskState::free || task.state == TaskState::finished || task.state == TaskState::aborted) return;
  const bool held = task.is_scsi() && (task.state == TaskState::ready || task.state == TaskState::executed);
  if (held && server_.gate() != nullptr) server_.gate()->on_gone(task);
  // Its CmdSN counts as received: nothing must wait for it.
  if (!task.immediate && (task.state == TaskState::parked || task.state == TaskState::receiving) &&
      in_window(task.cmd_sn))
    parked(task.cmd_sn) = {true, nullptr};
  std::erase(postponed_, &task);
  task.connection->forget(task);
  uncount(task);
  if (task.itt != kReservedTag) table_.erase(task);
  if (task.is_scsi()) ++server_.counters().aborted;
  task.state = TaskState::aborted;
  if (task.on_wire == 0) release(task);
}

/// Of a connection that is gone. What had not come to its turn was never delivered: its CmdSN is open again, for the
/// initiator to send what it likes with it.
void Session::abort_tasks_of(Connection& connection) {
  for (Task* task = tasks_.first(); task != nullptr;) {
    Task* following = task->next;
    if (task->connection == &connection) {
      const bool undelivered =
          !task->immediate && (task->state == TaskState::parked || task->state == TaskState::receiving);
      const std::uint32_t cmd_sn = task->cmd_sn;
      const Parked before = in_window(cmd_sn) ? parked(cmd_sn) : Parked{};
      abort(*task);
      if (undelivered && in_window(cmd_sn)) parked(cmd_sn) = before.task == task ? Parked{} : before;
    }
    task = following;
  }
}

// ---- order of commands
// ----------------------------------------------------------------------------------------------

void Session::deliver(Task& task, proto::Micros now) {
  if (task.is_scsi()) task.received = Prefix::decode(task.request).data_length;
  if (task.immediate) {
    dispatch(task, now);
  } else if (!in_window(task.cmd_sn) || parked(task.cmd_sn).taken) {
    // The same number has come in on another connection meanwhile.
    ++server_.counters().ignored;
    return release(task);
  } else {
    task.state = TaskState::parked;
    parked(task.cmd_sn) = {true, &task};
    if (task.cmd_sn != exp_cmd_sn_) ++server_.counters().parked;
  }
  drain(now);
}

/// Everything whose turn has come, and task management that has waited for it.
void Session::drain(proto::Micros now) {
  if (draining_) return;  // what a command does may ask for it again: the loop below is not at its end
  draining_ = true;
  do {
    while (!closed_ && parked(exp_cmd_sn_).taken) {
      Task* task = parked(exp_cmd_sn_).task;
      parked(exp_cmd_sn_) = {};
      ++exp_cmd_sn_;
      if (task == nullptr) continue;
      task->counted = true;
      ++active_;
      dispatch(*task, now);
    }
  } while (!closed_ && run_postponed(now));
  draining_ = false;
}

void Session::dispatch(Task& task, proto::Micros now) {
  switch (task.opcode) {
    case Opcode::scsi_command:
      return start_scsi(task, now);
    case Opcode::task_management_request:
      return manage(task, now);
    default:
      task.state = TaskState::ready;
      uncount(task);  // what it is answered with opens the window for the next
      task.connection->handle(task, now);
      // A logout has taken the task with it.
      if (task.state != TaskState::free) release(task);
  }
}

// ---- SCSI commands
// --------------------------------------------------------------------------------------------------

void Session::start_scsi(Task& task, proto::Micros now) {
  task.state = TaskState::gathering;
  if (refuse(task)) return respond(task, now);
  go_on_gathering(task, now);
}

/// Whether the command ends before it has begun; then its status is set.
bool Session::refuse(Task& task) {
  constexpr std::uint8_t kOrdered = 2;
  constexpr std::uint8_t kAca = 4;
  constexpr proto::scsi::AdditionalSense kInvalidMessageError{0x49, 0x00};
  if (!ignores_unit_attention(task.plan.operation)) {
    if (const auto sense = take_attention(task.unit)) {
      set_check_condition(task, *sense);
      return true;
    }
  }
  if (task.plan.refusal) {
    set_check_condition(task, *task.plan.refusal);
  } else if (task.command.attribute == kOrdered || task.command.attribute >= kAca) {
    set_check_condition(task, illegal_request(kInvalidMessageError));  // SAM-5 8.6: attributes that are not there
  } else if (task.command.read && task.command.write) {
    set_check_condition(task, illegal_request(proto::scsi::asc::kInvalidFieldInCdb));  // none of ours moves both ways
  } else if (task.no_room) {
    ++server_.counters().task_set_full;
    set_status(task, proto::scsi::Status::task_set_full);
  } else {
    return false;
  }
  return true;
}

void Session::data_arrived(Task& task, proto::Micros now) {
  if (task.state == TaskState::gathering) go_on_gathering(task, now);
}

void Session::go_on_gathering(Task& task, proto::Micros now) {
  if (task.unsolicited_open) return;
  if (task.received >= task.out_length) return make_ready(task, now);
  solicit(task);
}

/// R2Ts for what is missing, in bursts, as many as may be open at a time (section 11.8).
void Session::solicit(Task& task) {
  const std::uint32_t most = std::min(parameters_.max_outstanding_r2t, kMaxOutstandingR2t);
  task.solicited_up_to = std::max(task.solicited_up_to, task.received);
  while (task.solicited_count < most && task.solicited_up_to < task.out_length) {
    if (next_ttt_ == kReservedTag) next_ttt_ = 0;
    Solicited& burst = task.solicited[task.solicited_count++];
    burst = {.ttt = next_ttt_++,
             .offset = task.solicited_up_to,
             .length = std::min(parameters_.max_burst_length, task.out_length - task.solicited_up_to)};
    task.solicited_up_to += burst.length;
    ControlPdu& pdu = task.connection->new_control();
    pdu.consumes_stat_sn = false;
    R2t{.lun = task.command.lun,
        .itt = task.itt,
        .ttt = burst.ttt,
        .r2t_sn = task.r2t_sn++,
        .buffer_offset = burst.offset,
        .desired_length = burst.length}
        .encode(pdu.header);
    task.connection->send(pdu);
  }
}

void Session::make_ready(Task& task, proto::Micros now) {
  task.state = TaskState::ready;
  if (server_.gate() != nullptr && server_.gate()->pass(task, Gate::Passage::execute, now) == Gate::Verdict::hold)
    return;
  execute_task(task, now);
}

void Session::execute_task(Task& task, proto::Micros now) {
  constexpr std::uint32_t kMaxParameterData = 8192;
  if (task.plan.direction == DataDirection::in && task.command.read) {
    std::uint32_t room = std::min(task.plan.length, task.command.expected_length);
    if (task.plan.operation != Operation::read) room = std::min(room, kMaxParameterData);
    allocate(task, room);
  }
  if (task.no_room) {
    ++server_.counters().task_set_full;
    set_status(task, proto::scsi::Status::task_set_full);
    return respond(task, now);
  }
  Execution execution{.plan = task.plan,
                      .cdb = task.cdb(),
                      .target = *identity_.target,
                      .unit = task.unit,
                      .lun = task.command.lun,
                      .data = task.data,
                      .data_length = task.data_length,
                      .pending = {}};
  if (task.plan.operation == Operation::request_sense) execution.pending = take_attention(task.unit);
  execute(execution);
  ++server_.counters().commands;
  if (execution.status == proto::scsi::Status::check_condition) {
    set_check_condition(task, execution.sense);
  } else {
    set_status(task, execution.status);
    task.moved = execution.moved;
    if (task.plan.direction == DataDirection::in) task.in_length = std::min(execution.moved, task.data_length);
  }
  if (task.in_length == 0) free_data(task);
  respond(task, now);
}

void Session::respond(Task& task, proto::Micros now) {
  task.state = TaskState::executed;
  if (server_.gate() != nullptr && server_.gate()->pass(task, Gate::Passage::respond, now) == Gate::Verdict::hold)
    return;
  queue_response(task);
}

void Session::queue_response(Task& task) {
  task.state = TaskState::responding;
  task.connection->send(task);
}

void Session::resume(Task& task, proto::Micros now) {
  if (task.state == TaskState::ready) return execute_task(task, now);
  NBDGW_ASSERT(task.state == TaskState::executed, "only a task that was held is resumed");
  queue_response(task);
}

// ---- unit attentions
// ------------------------------------------------------------------------------------------------

void Session::establish_attention(const LogicalUnit& unit, proto::scsi::AdditionalSense code) {
  Attentions& pending = attentions_[static_cast<std::size_t>(&unit - identity_.target->units.data())];
  if (code.asc == proto::scsi::asc::kReset) pending.count = 0;  // a reset outdoes all that was before (SAM-5 5.14.2)
  if (pending.count == Attentions::kMax) return;
  for (std::size_t i = 0; i < pending.count; ++i)
    if (pending.codes[i] == code) return;
  pending.codes[pending.count++] = code;
}

std::optional<proto::scsi::Sense> Session::take_attention(const LogicalUnit* unit) noexcept {
  if (unit == nullptr) return std::nullopt;
  Attentions& pending = attentions_[static_cast<std::size_t>(unit - identity_.target->units.data())];
  if (pending.count == 0) return std::nullopt;
  const auto code = pending.codes[0];
  std::copy(pending.codes.begin() + 1, pending.codes.begin() + pending.count, pending.codes.begin());
  --pending.count;
  return make_sense(proto::scsi::SenseKey::unit_attention, code);
}

}  // namespace nbdgw::target
