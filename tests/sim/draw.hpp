#pragma once

#include <string>
#include <vector>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/pipe.hpp"
#include "tests/sim/random.hpp"

namespace nbdgw::sim {

// What is drawn from the seed, apart from the targets (target/): each habit within what people configure, and most
// faults absent in half of the worlds.

LinkHabits draw_links(Random& random);

/// A session to a target of that name with these portals, and one export for each of the LUNs.
GatewaySetup::Target draw_session(Random& random, const std::string& iqn, const std::vector<std::string>& portals,
                                  std::uint32_t luns);
GatewaySetup draw_gateway(Random& random);

ClientHabits draw_client(Random& random, const std::string& exported);

}  // namespace nbdgw::sim
