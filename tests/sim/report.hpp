#pragma once

#include <string>

#include "tests/sim/world.hpp"

namespace nbdgw::sim {

/// The command that makes the same run again.
std::string command_for(const RunOptions& options);

/// What was wrong with a run, and what has led to it: seed, commit, rule, the command, the last things that happened.
void print_failure(const RunOptions& options, const RunResult& result);
/// All that there is to tell of a run.
void print_whole(const RunOptions& options, const RunResult& result);

/// An assertion of the gateway ends the process in the middle of a run: what it was is told before that.
void tell_if_it_crashes(const RunOptions& options);

}  // namespace nbdgw::sim
