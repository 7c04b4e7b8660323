#include "tests/sim/mutants.hpp"

#include <cstdio>

#include "proto/mutant_list.hpp"

namespace nbdgw::sim {
namespace {

using proto::Mutant;

struct MutantRow {
  Mutant mutant;
  const char* name;
  const char* origin;
  const char* text;
};

constexpr MutantRow kMutantRows[] = {
#define NBDGW_MUTANT_ROW(name, origin, text) {Mutant::name, #name, origin, text},
    NBDGW_MUTANT_LIST(NBDGW_MUTANT_ROW)
#undef NBDGW_MUTANT_ROW
};

}  // namespace

bool plant_mutant(std::string_view name) noexcept {
  for (const MutantRow& row : kMutantRows) {
    if (row.name != name) continue;
    proto::planted_mutant = row.mutant;
    return true;
  }
  return false;
}

void print_mutants() {
  for (const MutantRow& row : kMutantRows) std::printf("%-32s %-9s %s\n", row.name, row.origin, row.text);
}

}  // namespace nbdgw::sim
