#include "gateway/app/process.hpp"

#include <sys/prctl.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57  // Linux 5.6
#endif

namespace nbdgw::app {

std::string prepare_process() {
  std::signal(SIGPIPE, SIG_IGN);
  if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0) return {};
  return std::string("not marked as an I/O flusher: ") + std::strerror(errno);
}

}  // namespace nbdgw::app
