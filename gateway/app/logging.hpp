#pragma once

#include <functional>

#include "config/model.hpp"

namespace nbdgw::app {

/// The log of the process, on standard error or in the journal, from here to the end of this object. A thread writes
/// it; whoever says something never waits for whoever reads it (net/log_queue.hpp). Reports of commands go to
/// standard output and are no log lines.
class Logging {
 public:
  /// One at a time, before there are threads that log, and after the process was made ready (prepare_process()).
  explicit Logging(const config::Log& log);
  /// What is counted is told, and what waits is written, for kPatience at most.
  ~Logging();
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;
};

/// The end of Logging, for whoever ends the process without any destructor.
void finish_logging() noexcept;

}  // namespace nbdgw::app
