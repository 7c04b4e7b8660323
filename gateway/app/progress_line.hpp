#pragma once

#include <cstdint>
#include <string>

namespace nbdgw::app {

/// One step of something long, on standard output: "copying in ... 42 %" that is overwritten on a terminal;
/// elsewhere, only its end is printed.
class ProgressLine {
 public:
  explicit ProgressLine(std::string what);

  /// `done` of `total`.
  void update(std::uint64_t done, std::uint64_t total);

  /// Ends the line with `result`.
  void finish(const std::string& result);

 private:
  std::string what_;
  bool terminal_;
  int shown_ = -1;  // percent
};

}  // namespace nbdgw::app
