#pragma once

#include <string>

#include "config/file_reader.hpp"
#include "config/model.hpp"
#include "config/value.hpp"

namespace nbdgw::config {

/// Reads `listen.admin` and `admin`, and whether they fit together. What is wrong is reported.
void parse_admin(const Value& addresses, const Value& admin, const std::string& config_file, const FileReader& reader,
                 Config& config);

}  // namespace nbdgw::config
