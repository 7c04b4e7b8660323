#pragma once

#include <string_view>

namespace nbdgw::admin {

/// A file of gateway/admin that was built into the program (CMakeLists.txt lists them), by its path there; empty:
/// none of that name.
std::string_view asset(std::string_view name);

}  // namespace nbdgw::admin
