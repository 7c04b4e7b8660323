#include "tests/sim/shrink.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

namespace nbdgw::sim {
namespace {

constexpr std::uint64_t kLeastIos = 10;

/// Quietly, in a child.
bool fails(const RunOptions& options) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    static_cast<void>(std::freopen("/dev/null", "w", stdout));
    static_cast<void>(std::freopen("/dev/null", "w", stderr));
    ::_exit(run_world(options).checker.empty() ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return false;
  return status != 0;
}

/// Takes it if it fails as well.
bool try_it(RunOptions& best, const RunOptions& smaller, const std::string& what) {
  if (!fails(smaller)) return false;
  fmt::print("  it fails {}, too\n", what);
  best = smaller;
  return true;
}

void halve_requests(RunOptions& best) {
  bool goes_on = true;
  while (goes_on && best.ios > kLeastIos) {
    RunOptions smaller = best;
    smaller.ios = std::max(best.ios / 2, kLeastIos);
    goes_on = try_it(best, smaller, fmt::format("with {} requests", smaller.ios));
  }
}

}  // namespace

RunOptions shrink(RunOptions failing) {
  RunOptions best = std::move(failing);
  if (!fails(best)) return best;
  halve_requests(best);
  // What is left out changes what others strike, so one that was needed may not be needed any more.
  for (bool any = true; any;) {
    any = false;
    for (const std::string& kind : kinds_of_faults()) {
      if (std::ranges::count(best.left_out, kind) > 0) continue;
      RunOptions smaller = best;
      smaller.left_out.push_back(kind);
      if (try_it(best, smaller, "without " + kind)) any = true;
    }
  }
  halve_requests(best);
  return best;
}

}  // namespace nbdgw::sim
