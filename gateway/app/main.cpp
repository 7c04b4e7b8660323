#include <cstdio>
#include <exception>

#include "gateway/app/command_line.hpp"
#include "gateway/app/exit_codes.hpp"

int main(int argc, char** argv) {
  try {
    return nbdgw::app::run_command_line(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "nbdgw: %s\n", e.what());
    return nbdgw::app::kFailed;
  }
}
