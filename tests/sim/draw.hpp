#pragma once

#include <string>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/pipe.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/site.hpp"

namespace nbdgw::sim {

// What is drawn from the seed, apart from the targets (target/): each habit within what people configure, and most
// faults absent in half of the worlds.

LinkHabits draw_links(Random& random);

/// A session to that target, and an export for each of its disks.
GatewaySetup::Target draw_session(Random& random, const Site& site);
GatewaySetup draw_gateway(Random& random);

ClientHabits draw_client(Random& random, const std::string& exported);
/// One that asks for no more than what it may always have (checkers/service_checker.hpp). `alone`: so do all who use
/// its target.
ClientHabits draw_good_client(Random& random, const std::string& exported, bool alone);

}  // namespace nbdgw::sim
