// Whatever a file holds, the parser comes back with a configuration or with errors, and with nothing worse.
#include <cstdlib>
#include <filesystem>
#include <random>

#include <doctest/doctest.h>

#include "config/parse.hpp"
#include "tests/unit/config/support.hpp"

using namespace nbdgw::config;
using namespace nbdgw::config::test;

namespace {

std::string full_example() {
  const auto root = std::filesystem::path(NBDGW_SOURCE_DIR);
  const FileContent content = SystemFileReader().read((root / "config/examples/full.yaml").string(), 1 << 20);
  REQUIRE(content.error == "");
  return content.text;
}

}  // namespace

TEST_CASE("mutated files never crash the parser") {
  const char* given = std::getenv("NBDGW_SEED");
  const auto seed =
      given != nullptr ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device{}();
  MESSAGE("NBDGW_SEED=", seed);
  CAPTURE(seed);
  std::mt19937 random(seed);
  const std::string good = full_example();
  constexpr std::string_view kSpice = "[]{}:,-?&*!|>'\"%@`#\n\t \\<~0aZ\x7f\x80\xff";
  const ExampleFiles files;
  int accepted = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string text = good;
    for (std::size_t edits = 1 + random() % 4; edits > 0; --edits) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = kSpice[random() % kSpice.size()];
          break;
        case 1:
          text.insert(at, 1, kSpice[random() % kSpice.size()]);
          break;
        case 2:
          text.erase(at, 1 + random() % 20);
          break;
        default:
          text.insert(at, good.substr(random() % good.size(), random() % 80));
      }
    }
    const ParseResult result = parse(text, "f", files);
    CHECK(result.config.has_value() == result.errors.empty());
    for (const Problem& problem : result.errors) CHECK(problem.to_string().starts_with("f:"));
    accepted += result.config.has_value();
  }
  CHECK(accepted > 0);  // an edit inside a comment changes nothing
  CHECK(accepted < 1000);
}
