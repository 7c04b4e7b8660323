#include "gateway/app/progress_line.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

namespace nbdgw::app {

ProgressLine::ProgressLine(std::string what) : what_(std::move(what)), terminal_(::isatty(STDOUT_FILENO) == 1) {
  update(0, 100);
}

void ProgressLine::update(std::uint64_t done, std::uint64_t total) {
  const int percent = static_cast<int>(total == 0 ? 100 : done * 100 / total);
  if (!terminal_ || percent == shown_) return;
  shown_ = percent;
  fmt::print("\r{} ... {:3} %", what_, percent);
  std::fflush(stdout);
}

void ProgressLine::finish(const std::string& result) {
  // The spaces cover what is left of the percentage.
  fmt::print("{}{} ... {}      \n", terminal_ ? "\r" : "", what_, result);
  std::fflush(stdout);
}

}  // namespace nbdgw::app
