#include "gateway/iscsi_target/session.hpp"

#include <algorithm>
#include <bit>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::iscsi_target {

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
  if (server.window_frozen()) freeze_window(true);
  if (identity_.target == nullptr) return;
  attentions_.resize(identity_.target->units.size());
  for (const LogicalUnit& unit : identity_.target->units)
    if (const auto code = server.first_attention(identity_, unit)) establish_attention(unit, *code);
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
  Task* holder = prefix.itt != kReservedTag ? table_.find(prefix.itt) : nullptr;
  if (holder != nullptr && !holder->disowned) return Intake::tag_in_use;
  if (prefix.immediate && immediate_ >= kMaxImmediateTasks) return Intake::too_many_immediate;

  if (holder != nullptr) give_up_tag(*holder);
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
  if (task.followed) server_.gate()->on_gone(task);
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

void Session::disown(Task& task) noexcept {
  task.disowned = true;
  uncount(task);
}

/// Without its tag no more data reaches a task: one that still needs some will never have it.
void Session::give_up_tag(Task& task) {
  if (task.state == TaskState::gathering) return abort(task);
  table_.erase(task);
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

void Session::freeze_window(bool frozen) {
  if (frozen == frozen_max_cmd_sn_.has_value()) return;
  if (frozen) {
    frozen_max_cmd_sn_ = max_cmd_sn();
    return;
  }
  frozen_max_cmd_sn_.reset();
  if (!connections_.empty()) connections_.front()->send_window();
}

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

}  // namespace nbdgw::iscsi_target
