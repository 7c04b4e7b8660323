#pragma once

#include <string_view>

namespace nbdgw::sim {

/// Plants the bug of that name (proto/mutant_list.hpp), for all runs that follow. False: there is none of that name.
bool plant_mutant(std::string_view name) noexcept;
/// Prints them all, one a line: name, origin, what it does.
void print_mutants();

}  // namespace nbdgw::sim
