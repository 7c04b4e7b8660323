// The data of writes.
#include "tests/sim/target/array.hpp"
#include "tests/sim/target/executor.hpp"

namespace nbdgw::sim {

void Executor::data_out(TargetSession& session, TargetConnection& connection, const pdu::Request& request) {
  const bool solicited = request.ttt() != pdu::kNoTag;
  TargetCommand* command = session.find(request.itt());
  // The tag of one that no function finds any more may be another's by now.
  if (TargetCommand* const detached = solicited ? find_detached(connection, request) : nullptr) command = detached;
  if (command == nullptr) {
    // It may have been on its way when its command was answered or ended.
    if (connection.remembers(request.itt())) return;
    return array_.checker.complain(connection, "data for a command that there never was");
  }
  if (!array_.checker.on_data_out(connection, *command, request)) return connection.drop(Cut::reset);
  if (solicited) {
    take_solicited(*command, connection, request);
  } else {
    take_unsolicited(*command, connection, request);
  }
}

TargetCommand* Executor::find_detached(const TargetConnection& connection,
                                       const pdu::Request& request) const noexcept {
  for (TargetCommand* command = array_.commands.first(); command != nullptr; command = command->behind) {
    if (!command->detached || command->connection != &connection || command->r2t_count == 0) continue;
    if (command->origin.itt == request.itt() && command->r2ts[0].ttt == request.ttt()) return command;
  }
  return nullptr;
}

void Executor::take_unsolicited(TargetCommand& command, TargetConnection& connection, const pdu::Request& request) {
  const bool ahead = command.state == TargetCommand::State::parked;
  if (ahead && array_.faults.strikes(Fault::early_data_drops)) return connection.drop(Cut::reset);
  command.data.append(request.data);
  ++command.unsolicited_sn;
  if (!request.final()) return;
  command.unsolicited = false;
  command.requested = static_cast<std::uint32_t>(command.data.size());
  if (!ahead) proceed(command);
}

/// Sequences come in the order in which they were asked for.
void Executor::take_solicited(TargetCommand& command, TargetConnection&, const pdu::Request& request) {
  OpenR2t& r2t = command.r2ts[0];
  command.data.append(request.data);
  r2t.received += static_cast<std::uint32_t>(request.data.size());
  ++r2t.data_sn;
  if (!request.final()) return;
  --command.r2t_count;
  for (std::uint32_t i = 0; i < command.r2t_count; ++i) command.r2ts[i] = command.r2ts[i + 1];
  proceed(command);
}

}  // namespace nbdgw::sim
