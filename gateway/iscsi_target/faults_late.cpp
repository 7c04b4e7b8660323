#include <algorithm>

#include "gateway/iscsi_target/faults.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/scsi/lun.hpp"

/// Writes that are done after their initiator was told, or has to believe, that they are over.
namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

namespace {

/// Whether the function is about more than the tasks of one session.
bool reaches_all(TaskManagementFunction function) noexcept {
  return function != TaskManagementFunction::abort_task && function != TaskManagementFunction::abort_task_set;
}

bool is_about_all_units(TaskManagementFunction function) noexcept {
  return function == TaskManagementFunction::target_warm_reset ||
         function == TaskManagementFunction::target_cold_reset;
}

}  // namespace

/// The task ends, and its write goes on without it.
void Faults::outlive(const Task& task, const Held& held) {
  const Fault* fault = find(held.fault);
  if (fault == nullptr || late_.size() >= kMaxHeld || late_bytes_ + task.data_length > kMaxLateBytes) return;
  Late& late = late_.emplace_back(Late{.fault = held.fault,
                                       .target = task.session->identity().target,
                                       .unit = task.unit,
                                       .lun = task.command.lun,
                                       .plan = task.plan,
                                       .cdb = task.command.cdb,
                                       .data = std::vector<std::uint8_t>(task.data_length),
                                       .due = held.due});
  proto::copy_out(task.data, 0, late.data.data(), late.data.size());
  late_bytes_ += late.data.size();
  if (fault->after_loss && fault->delay_ms != 0)
    late.due = server_->now() + proto::Micros{fault->delay_ms} * proto::kMillisecond;
}

/// Does those whose time has come. Nobody hears what became of them.
template <typename Which>
void Faults::land(Which which) {
  for (Late& late : late_) {
    if (!which(late)) continue;
    const iovec data{late.data.data(), late.data.size()};
    Execution execution{.plan = late.plan,
                        .cdb = late.cdb,
                        .target = *late.target,
                        .unit = late.unit,
                        .lun = late.lun,
                        .data = {&data, 1},
                        .data_length = static_cast<std::uint32_t>(late.data.size()),
                        .pending = {}};
    execute(execution);
  }
  std::erase_if(late_, which);
  late_bytes_ = 0;
  for (const Late& late : late_) late_bytes_ += late.data.size();
}

void Faults::land_due(proto::Micros now) {
  land([&](const Late& late) { return late.due <= now; });
  go_on(now);
}

void Faults::land_those_of(std::uint32_t fault, proto::Micros now) {
  land([&](const Late& late) { return late.fault == fault; });
  go_on(now);
}

/// Task management that has waited for such writes.
void Faults::go_on(proto::Micros now) {
  std::vector<Session*> sessions;
  for (const auto& [tsih, session] : server_->sessions()) sessions.push_back(session.get());
  for (Session* session : sessions)
    if (!session->is_closed()) session->go_on(now);
}

bool Faults::delays(const Session& session, const Connection& connection, const TaskManagementRequest& request) {
  const auto waits = [&](std::uint32_t id) {
    const Fault* fault = find(id);
    return fault != nullptr && fault->reset_waits;
  };
  if (held_.empty() && late_.empty()) return false;
  for (const Task* task : session.named_by(request, connection)) {
    const auto found = held_.find(const_cast<Task*>(task));
    if (found != held_.end() && found->second.slow && found->second.waiting && waits(found->second.fault))
      return true;
  }
  return reaches_all(request.function) && std::any_of(late_.begin(), late_.end(), [&](const Late& late) {
           return late.target == session.identity().target &&
                  (is_about_all_units(request.function) || late.lun == request.lun) && waits(late.fault);
         });
}

/// A reset lets go of these if they wait for their data: it does not find them, and they are done when it is there.
void Faults::spare(const std::vector<Task*>& named, std::uint32_t id) {
  for (Task* task : named) {
    if (task->state != TaskState::gathering || !is_in(CommandGroup::write, task->cdb()[0]) ||
        (held_.size() >= kMaxHeld && !held_.contains(task)))
      continue;
    Held& held = hold(*task, id);
    held.before_execution = false;
    held.mute = true;
    task->spared = true;
    task->session->disown(*task);
  }
}

}  // namespace nbdgw::iscsi_target
