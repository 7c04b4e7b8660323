#include <fmt/core.h>

#include "gateway/app/commands.hpp"

namespace nbdgw::app {

int version_command() {
  fmt::print("nbdgw {}\n", NBDGW_VERSION);
  return kSuccess;
}

}  // namespace nbdgw::app
