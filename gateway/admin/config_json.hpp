#pragma once

#include <boost/json/object.hpp>

#include "config/model.hpp"

namespace nbdgw::admin {

/// A configuration with the keys of its file and all defaults filled in: what the file could be, for YAML takes JSON.
/// Of secrets, tokens and keys it has the names of their files only.
boost::json::object to_json(const config::Config& config);

}  // namespace nbdgw::admin
