#include "tests/sim/report.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>

#include "sim_commit.hpp"

namespace nbdgw::sim {
namespace {

// For a signal handler, which may not do much.
std::array<char, 4096> last_words;
std::size_t last_words_length = 0;

/// The gateway's own assertions find something, too.
void on_crash(int signal) {
  [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, last_words.data(), last_words_length);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

std::string headline(const RunOptions& options, const std::string& what) {
  return fmt::format("FAIL seed {}, commit {}: {}\n  again: {}\n", options.seed, kSimCommit, what,
                     command_for(options));
}

}  // namespace

std::string command_for(const RunOptions& options) {
  std::string command = fmt::format("nbdgw-sim --seed {} --ios {}", options.seed, options.ios);
  if (!options.faults) command += " --healthy";
  if (!options.mutant.empty()) command += " --mutant " + options.mutant;
  for (const std::string& kind : options.left_out) command += " --leave-out " + kind;
  return command;
}

void print_failure(const RunOptions& options, const RunResult& result) {
  fmt::print("{}", headline(options, "checker " + result.checker + ": " + result.complaint));
  for (const std::string& line : result.trace) fmt::print("    {}\n", line);
  std::fflush(stdout);
}

void print_whole(const RunOptions& options, const RunResult& result) {
  fmt::print("seed {}: {} requests, {} MiB, {:.1f} s, healed in {:.1f} s, {} events, {} turns, fingerprint {:016x}\n",
             options.seed, result.ios, result.bytes >> 20, static_cast<double>(result.lasted) / proto::kSecond,
             static_cast<double>(result.healed_in) / proto::kSecond, result.events, result.turns, result.fingerprint);
  for (const auto& [error, count] : result.errors) fmt::print("  error {}: {}\n", error, count);
  for (const auto& [name, count] : result.faults) fmt::print("  {}: {}\n", name, count);
  for (const auto& [name, value] : result.figures) fmt::print("  {}: {:.3g}\n", name, value);
}

void tell_if_it_crashes(const RunOptions& options) {
  const std::string words = headline(options, "checker crash: an assertion, a crash, or a run without an end");
  last_words_length = std::min(words.size(), last_words.size());
  std::copy_n(words.begin(), last_words_length, last_words.begin());
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) std::signal(signal, on_crash);
}

}  // namespace nbdgw::sim
