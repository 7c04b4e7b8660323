#pragma once

#include <cstdint>

#include "proto/time.hpp"

namespace nbdgw::target {

struct Task;

/// The one place that every SCSI command passes twice: when all its data is there and it is about to be executed, and
/// when its answer is ready to be sent. Without a gate everything goes through at once.
class Gate {
 public:
  enum class Passage : std::uint8_t { execute, respond };
  enum class Verdict : std::uint8_t {
    proceed,
    /// The task stays where it is until Session::resume() takes it on, or until it is aborted.
    hold,
  };

  /// At `respond` the task's status, sense and data may be changed.
  virtual Verdict pass(Task& task, Passage passage, proto::Micros now) = 0;

  /// A task that was held has been aborted: it must not be resumed.
  virtual void on_gone(Task& task) = 0;

 protected:
  ~Gate() = default;
};

}  // namespace nbdgw::target
