#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "tests/sim/target/executor.hpp"
#include "tests/sim/target/mischief.hpp"
#include "tests/sim/target/target_model.hpp"
#include "tests/sim/target/target_session.hpp"
#include "tests/sim/target/task_functions.hpp"

namespace nbdgw::sim {

/// What the parts of the model share.
class Array {
 public:
  Array(Timeline& timeline, Random random, const TargetOptions& options);

  Timeline& timeline;
  Random random;
  const TargetOptions options;
  FaultDesk faults;
  ProtocolChecker checker;
  CommandTable commands;
  UnitMap units;
  Executor executor;
  TaskFunctions functions;
  Mischief mischief;
  std::vector<std::unique_ptr<Medium>> media;
  std::vector<std::unique_ptr<Controller>> controllers;
  std::vector<std::unique_ptr<TargetSession>> sessions;
  std::vector<std::unique_ptr<TargetConnection>> connections;

  const TargetHabits& habits() const noexcept { return options.habits; }
  Micros now() const noexcept { return timeline.now(); }

  /// Later, if the array is still there.
  template <typename Action>
  void after(Micros delay, Action action) {
    timeline.after(delay, [this, action = std::move(action)]() mutable {
      action();
      settle();
    });
  }
  /// The end of every event: what was written leaves, and what is over is forgotten.
  void settle();
  void wants_flush(TargetConnection& connection) { unsent_.push_back(&connection); }
  void wants_cleaning() noexcept { cleaning_ = true; }

  TargetConnection& add_connection(Controller& controller, Line& line);
  TargetConnection* find_connection(std::uint32_t number) const noexcept;
  TargetSession* find_session(std::uint16_t tsih) const noexcept;
  TargetSession* find_session(const SessionIdentity& identity, const Controller& controller) const noexcept;
  TargetSession& open_session(Controller& controller, SessionIdentity identity, const SessionTerms& terms,
                              std::uint32_t cmd_sn);
  /// Its connections are dropped, its commands are lost.
  void end_session(TargetSession& session, Cut cut);

 private:
  std::vector<TargetConnection*> unsent_;
  std::vector<TargetConnection*> flushing_;
  bool cleaning_ = false;
  std::uint32_t last_connection_ = 0;
  std::uint32_t last_session_ = 0;
};

}  // namespace nbdgw::sim
