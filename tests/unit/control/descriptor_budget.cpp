#include "gateway/control/descriptor_budget.hpp"

#include <doctest/doctest.h>

using namespace nbdgw;

namespace {

config::Config config_with(std::uint32_t targets, std::uint32_t connections, std::uint32_t clients) {
  config::Config config;
  config.limits.connections = clients;
  for (std::uint32_t i = 0; i < targets; ++i) {
    config.targets.emplace_back().name = "t" + std::to_string(i);
    config.targets.back().connections = connections;
    config.exports.emplace_back().target = i;
  }
  return config;
}

}  // namespace

TEST_CASE("what the gateway needs itself comes first, whatever clients were promised") {
  const config::Config config = config_with(3, 4, 1000);
  const control::DescriptorBudget plenty = control::share_out_descriptors(config, 2, 1, 65536);
  CHECK(plenty.clients == 1000);
  CHECK_FALSE(plenty.is_short());
  const control::DescriptorBudget enough = control::share_out_descriptors(config, 2, 1, plenty.own + 1000);
  CHECK_FALSE(enough.is_short());
  const control::DescriptorBudget little = control::share_out_descriptors(config, 2, 1, plenty.own + 7);
  CHECK(little.is_short());
  CHECK(little.clients == 7);
  for (const std::uint64_t allowed : {std::uint64_t{0}, std::uint64_t{20}, plenty.own})
    CHECK(control::share_out_descriptors(config, 2, 1, allowed).clients == 0);
}

TEST_CASE("it grows with all that takes descriptors, and not with what nobody uses") {
  config::Config config = config_with(2, 4, 10);
  const auto own = [&](std::size_t workers = 1, std::size_t listeners = 1) {
    return control::share_out_descriptors(config, workers, listeners, 65536).own;
  };
  const std::uint64_t before = own();
  CHECK(own(2) > before);
  CHECK(own(1, 2) > before);
  config.listen.admin.emplace_back();
  const std::uint64_t with_admin = own();
  CHECK(with_admin > before + config::kAdminConnections);
  config.targets[0].connections = 8;
  CHECK(own() == with_admin + 4);
  config.targets.emplace_back().connections = 8;  // of no export
  CHECK(own() == with_admin + 4);
}
