// nbdgw-sim: the gateway in a world that is made from a seed.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>

#include "gateway/net/log.hpp"
#include "tests/sim/world.hpp"

namespace {

using nbdgw::sim::RunOptions;
using nbdgw::sim::RunResult;

struct Totals {
  std::uint64_t seeds = 0, ios = 0, bytes = 0, losses = 0, errors = 0, failed = 0;
  std::map<std::string, std::uint64_t> faults;
};

void report(const RunOptions& options, const RunResult& result, bool whole) {
  if (!result.checker.empty()) {
    std::printf("FAIL seed %llu, checker %s: %s\n  again: nbdgw-sim --seed %llu --ios %llu\n",
                static_cast<unsigned long long>(options.seed), result.checker.c_str(), result.complaint.c_str(),
                static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(options.ios));
  }
  if (!whole) return;
  std::printf("seed %llu: %llu requests, %llu MiB, %.1f s, %llu events, %llu turns, fingerprint %016llx\n",
              static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(result.ios),
              static_cast<unsigned long long>(result.bytes >> 20), static_cast<double>(result.lasted) / 1e6,
              static_cast<unsigned long long>(result.events), static_cast<unsigned long long>(result.turns),
              static_cast<unsigned long long>(result.fingerprint));
  for (const auto& [error, count] : result.errors)
    std::printf("  error %u: %llu\n", error, static_cast<unsigned long long>(count));
  for (const auto& [name, count] : result.faults)
    std::printf("  %s: %llu\n", name.c_str(), static_cast<unsigned long long>(count));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the gateway in a simulated world. The same seed gives the same run.", "nbdgw-sim");
  RunOptions options;
  std::uint64_t last = 0;
  std::string seeds;
  app.add_option("--seed", options.seed, "one run, told whole");
  app.add_option("--seeds", seeds, "runs of the seeds A-B");
  app.add_option("--ios", options.ios, "requests of clients in a run before everything heals");
  bool verbose = false, healthy = false;
  app.add_flag("--verbose", verbose, "with the gateway's log");
  app.add_flag("--healthy", healthy, "targets without faults");
  CLI11_PARSE(app, argc, argv);
  nbdgw::net::log::set_level(verbose ? nbdgw::net::log::Level::debug : nbdgw::net::log::Level::error);

  options.faults = !healthy;
  bool whole = true;
  last = options.seed;
  if (const auto dash = seeds.find('-'); dash != std::string::npos) {
    options.seed = std::stoull(seeds.substr(0, dash));
    last = std::stoull(seeds.substr(dash + 1));
    whole = false;
  }
  Totals totals;
  const auto begin = std::chrono::steady_clock::now();
  for (; options.seed <= last; ++options.seed) {
    const RunResult result = nbdgw::sim::run_world(options);
    report(options, result, whole);
    ++totals.seeds;
    totals.ios += result.ios;
    totals.bytes += result.bytes;
    totals.losses += result.losses;
    if (!result.checker.empty()) ++totals.failed;
    for (const auto& [name, count] : result.faults) totals.faults[name] += count;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%llu seeds, %llu requests, %llu MiB, %.1f s: %.0f requests a second\n",
              static_cast<unsigned long long>(totals.seeds), static_cast<unsigned long long>(totals.ios),
              static_cast<unsigned long long>(totals.bytes >> 20), seconds,
              static_cast<double>(totals.ios) / seconds);
  for (const auto& [name, count] : totals.faults) {
    if (!whole) std::printf("  %s: %llu\n", name.c_str(), static_cast<unsigned long long>(count));
  }
  std::printf("%llu passed, %llu failed\n", static_cast<unsigned long long>(totals.seeds - totals.failed),
              static_cast<unsigned long long>(totals.failed));
  return totals.failed == 0 ? 0 : 1;
}
