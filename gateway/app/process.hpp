#pragma once

#include <string>

namespace nbdgw::app {

/// What a process that carries other processes' disks asks of the system, before it has threads: not to die of
/// SIGPIPE, and, where permitted (CAP_SYS_RESOURCE), PR_SET_IO_FLUSHER: its allocations then never wait for dirty
/// pages to be written, which might be written through this very process. Threads that come later inherit it. Returns
/// what is not permitted, for the log; empty: nothing.
std::string prepare_process();

}  // namespace nbdgw::app
