#pragma once

#include "config/model.hpp"

namespace nbdgw::app {

/// Sends log lines to standard error from now on: with a time in front, or, under systemd, with the severity mark
/// that the journal reads. Reports of commands go to standard output and are no log lines.
void set_up_logging(config::LogLevel level);
/// Another level from now on. From any thread.
void set_log_level(config::LogLevel level);

}  // namespace nbdgw::app
