#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/parse.hpp"
#include "gateway/app/exit_codes.hpp"
#include "gateway/app/lun_spec.hpp"

/// The commands of the program, each in a file of its own. All return an exit code (exit_codes.hpp) and print reports
/// to standard output, trouble to standard error.
namespace nbdgw::app {

/// `nbdgw version`
int version_command();

/// `nbdgw check -c FILE`: reads a configuration as `serve` would, and prints what it comes to or all that is wrong.
int check_command(const std::string& config_file);

/// Reads a configuration and prints all that is wrong with it, or unwise, to standard error.
std::optional<config::Config> load_config(const std::string& config_file);

}  // namespace nbdgw::app
