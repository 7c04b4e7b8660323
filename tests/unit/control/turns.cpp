#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "tests/unit/control/gateway_rig.hpp"

using namespace nbdgw;
using namespace nbdgw::test;

TEST_CASE("turns: a shard with an idle session and an idle export sleeps") {
  constexpr std::uint64_t kFew = 30;
  Rig rig;
  const auto turns = [&] { return view(rig.gateway).shards[0].turns; };
  const std::uint64_t before = turns();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(turns() - before < kFew);
}
