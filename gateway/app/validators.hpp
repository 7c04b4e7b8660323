#pragma once

#include <CLI/CLI.hpp>

namespace nbdgw::app {

/// A time above zero, as in the configuration.
CLI::Validator duration();

}  // namespace nbdgw::app
