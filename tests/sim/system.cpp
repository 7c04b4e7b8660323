#include "tests/sim/system.hpp"

namespace nbdgw::sim {

System& system() noexcept {
  static System one;
  return one;
}

}  // namespace nbdgw::sim
