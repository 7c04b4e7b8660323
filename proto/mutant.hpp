#pragma once

/// A bug that tests/sim can plant: true while `name` is planted, else false. In all other builds it is the constant
/// false, and nothing of it is left in the program. proto/mutant_list.hpp has the names.
#ifdef NBDGW_MUTANTS
#include "proto/mutant_list.hpp"
#define NBDGW_MUTANT(name) (::nbdgw::proto::planted_mutant == ::nbdgw::proto::Mutant::name)
#else
#define NBDGW_MUTANT(name) false
#endif
