#pragma once

#include <cstdint>

#include "proto/time.hpp"

namespace nbdgw::target {

struct Task;

/// Who may interfere with what a target does: tests and faults. A server without a gate pays a null check where one
/// could act.
class Gate {
 public:
  /// Where every SCSI command passes.
  enum class Passage : std::uint8_t {
    begin,    // its turn has come: it enters the task set, before it is judged and before it asks for data
    execute,  // all its data is there
    respond,  // its answer is ready to be sent
  };
  enum class Verdict : std::uint8_t {
    proceed,
    /// At `execute` and `respond`: the task stays where it is until Session::resume() takes it on, or until it is
    /// aborted. At `begin`: it gathers its data, and is judged only when it is about to be executed.
    hold,
    answer,   // not executed: what was set in the task (set_status() and the like) is its answer
    discard,  // ends without an answer
  };

  /// At `respond` the task's status, sense and data may be changed.
  virtual Verdict pass(Task& task, Passage passage, proto::Micros now) = 0;

  /// A task that was held, or that has `followed` set, has been aborted: it must not be resumed.
  virtual void on_gone(Task& task) = 0;

 protected:
  ~Gate() = default;
};

}  // namespace nbdgw::target
