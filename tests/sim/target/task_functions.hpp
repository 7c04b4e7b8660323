#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/sim/target/commands.hpp"
#include "tests/sim/target/observer.hpp"
#include "tests/sim/target/target_connection.hpp"

namespace nbdgw::sim {

/// A task management function that has not been answered.
struct RunningFunction {
  TargetSession* session = nullptr;
  TargetConnection* connection = nullptr;  // null: nobody to answer to
  std::uint32_t itt = 0;
  std::uint8_t function = 0;
  std::uint8_t response = pdu::kComplete;
  LogicalUnit* unit = nullptr;
  std::uint32_t waits_for = 0;  // commands that it has ended
  bool begun = false;           // all that it ends is known
  bool late_data = false;
  bool lies = false;
  std::vector<std::uint32_t> records;  // of what it has ended
  FunctionSeen seen{};
};

/// Task management at the target.
class TaskFunctions {
 public:
  explicit TaskFunctions(Array& array) : array_(array) {}

  void receive(TargetSession& session, TargetConnection& connection, const pdu::Request& request);
  /// A command that it waits for is over.
  void command_over(RunningFunction& function);
  void on_connection_lost(const TargetConnection& connection) noexcept;
  void on_session_lost(const TargetSession& session) noexcept;

 private:
  bool draw_failure(RunningFunction& function, const pdu::Request& request);
  void begin(RunningFunction& function, const pdu::Request& request);
  void abort_task(RunningFunction& function, const pdu::Request& request);
  void end_tasks(RunningFunction& function);
  void after_reset(RunningFunction& function);
  void finish(RunningFunction& function);
  void answer(RunningFunction& function);
  void close_others(RunningFunction& function);

  Array& array_;
  std::vector<std::unique_ptr<RunningFunction>> running_;
};

}  // namespace nbdgw::sim
