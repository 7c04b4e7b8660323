// nbdgw-sim: the gateway in a world that is made from a seed.
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "gateway/net/log.hpp"
#include "tests/sim/mutants.hpp"
#include "tests/sim/report.hpp"
#include "tests/sim/shrink.hpp"
#include "tests/sim/world.hpp"

namespace {

using nbdgw::sim::RunOptions;
using nbdgw::sim::RunResult;

struct Totals {
  std::uint64_t seeds = 0, ios = 0, bytes = 0, large = 0, failed = 0;
  std::map<std::string, std::uint64_t> faults;
  std::map<std::string, double> figures;  // the largest of each
};

/// A run that has taken so long, in seconds, goes round in circles.
constexpr unsigned kLongestRun = 120;

RunResult run(const RunOptions& options, Totals& totals, bool fingerprints) {
  nbdgw::sim::tell_if_it_crashes(options);
  ::alarm(kLongestRun);
  RunResult result = nbdgw::sim::run_world(options);
  ::alarm(0);
  if (fingerprints) fmt::print("seed {}: {:016x}\n", options.seed, result.fingerprint);
  ++totals.seeds;
  totals.ios += result.ios;
  totals.bytes += result.bytes;
  totals.large += result.large;
  for (const auto& [name, count] : result.faults) totals.faults[name] += count;
  for (const auto& [name, value] : result.figures) totals.figures[name] = std::max(totals.figures[name], value);
  if (result.checker.empty()) return result;
  ++totals.failed;
  print_failure(options, result);
  return result;
}

/// A line is a seed, how many requests, and what it has found; or a remark, after a #.
std::vector<RunOptions> read_kept(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw CLI::ValidationError("--kept", "cannot read " + path);
  std::vector<RunOptions> kept;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    RunOptions& options = kept.emplace_back();
    if (!(std::istringstream(line) >> options.seed >> options.ios))
      throw CLI::ValidationError("--kept", "what seed is this? " + line);
  }
  return kept;
}

void print_totals(const Totals& totals, double seconds, bool with_faults) {
  const double cpu = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  const auto ios = static_cast<double>(std::max<std::uint64_t>(totals.ios, 1));
  fmt::print(
      "{} seeds, {} requests ({:.1f} % above 64 KiB), {} MiB, {:.1f} s: {:.0f} requests a second, {:.0f} a second "
      "of the processor\n",
      totals.seeds, totals.ios, static_cast<double>(totals.large) * 100 / ios, totals.bytes >> 20, seconds,
      ios / seconds, ios / cpu);
  if (with_faults) {
    for (const auto& [name, count] : totals.faults) fmt::print("  {}: {}\n", name, count);
    for (const auto& [name, value] : totals.figures) fmt::print("  at most: {}: {:.3g}\n", name, value);
  }
  fmt::print("{} passed, {} failed\n", totals.seeds - totals.failed, totals.failed);
}

/// "3-17".
std::vector<RunOptions> range_of(const RunOptions& like, const std::string& seeds) {
  std::uint64_t from = 0, to = 0;
  char dash = 0;
  if (!(std::istringstream(seeds) >> from >> dash >> to) || dash != '-' || to < from)
    throw CLI::ValidationError("--seeds", "A-B is wanted, and not " + seeds);
  std::vector<RunOptions> runs(to - from + 1, like);
  for (RunOptions& each : runs) each.seed = from++;
  return runs;
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("Runs the gateway in a simulated world. The same seed gives the same run.", "nbdgw-sim");
  RunOptions options;
  std::string seeds, kept;
  bool verbose = false, healthy = false, shrinks = false, until_found = false, mutants = false, fingerprints = false;
  app.add_option("--seed", options.seed, "one run, told whole");
  app.add_option("--seeds", seeds, "runs of the seeds A-B");
  app.add_option("--kept", kept, "runs of the seeds in that file");
  app.add_option("--ios", options.ios, "requests of clients in a run before everything heals");
  app.add_option("--leave-out", options.left_out, "a kind of fault that is not to happen, and again for others")
      ->check(CLI::IsMember(nbdgw::sim::kinds_of_faults()));
  app.add_flag("--shrink", shrinks, "if --seed fails, the smallest run that fails, too, is searched for, and told");
  app.add_flag("--trace", options.traced, "with all that happens");
  app.add_flag("--verbose", verbose, "with the gateway's log");
  app.add_flag("--healthy", healthy, "targets without faults");
  app.add_option("--mutant", options.mutant, "with this bug planted in the gateway");
  app.add_flag("--until-found", until_found, "ends at the first seed that fails");
  app.add_flag("--fingerprints", fingerprints, "a number for each run, of all that happened in it");
  app.add_flag("--mutants", mutants, "shows the bugs that can be planted");
  CLI11_PARSE(app, argc, argv);
  // What one world gives back the next one takes: the system would have to clear it each time.
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  ::mallopt(M_TOP_PAD, 16 << 20);
  if (mutants) return nbdgw::sim::print_mutants(), 0;
  if (!options.mutant.empty() && !nbdgw::sim::plant_mutant(options.mutant)) {
    fmt::print(stderr, "there is no mutant {}; --mutants shows those that there are\n", options.mutant);
    return 2;
  }
  nbdgw::net::log::set_level(verbose ? nbdgw::net::log::Level::debug : nbdgw::net::log::Level::error);
  options.faults = !healthy;

  std::vector<RunOptions> runs;
  if (!seeds.empty()) runs = range_of(options, seeds);
  if (!kept.empty()) runs = read_kept(kept);
  const bool single = runs.empty();
  if (single && shrinks) options = nbdgw::sim::shrink(options);
  Totals totals;
  const auto begin = std::chrono::steady_clock::now();
  if (single) {
    print_whole(options, run(options, totals, fingerprints));
  } else {
    for (const RunOptions& each : runs) {
      run(each, totals, fingerprints);
      if (until_found && totals.failed > 0) break;
    }
  }
  const double lasted = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  print_totals(totals, lasted, !single);
  return totals.failed == 0 ? 0 : 1;
} catch (const CLI::ParseError& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 2;
}
