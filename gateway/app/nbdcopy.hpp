#pragma once

#include <string>

#include "gateway/app/progress_line.hpp"

namespace nbdgw::app {

enum class CopyEnd { done, failed, stopped };

/// "" or, in one line, that nbdcopy is not installed and how to get it.
std::string missing_nbdcopy();

/// Copies with libnbd's nbdcopy, a client that nobody here wrote: from and to a file or an NBD URI. What nbdcopy has
/// to say goes to standard error. A readable `stop_descriptor` ends it early.
CopyEnd run_nbdcopy(const std::string& from, const std::string& to, ProgressLine& progress, int stop_descriptor);

}  // namespace nbdgw::app
