#pragma once

#include <string>

#include "config/file_reader.hpp"
#include "config/model.hpp"
#include "config/value.hpp"

namespace nbdgw::config {

/// Reads one element of `targets`. What is wrong is reported; the target is then incomplete.
Target parse_target(const Section& section, const std::string& config_file, const FileReader& reader);

}  // namespace nbdgw::config
