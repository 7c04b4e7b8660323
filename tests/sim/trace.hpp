#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// The last things that have happened, for whoever has to understand a failure. Kept as numbers: they become text
/// only when somebody wants to read them.
class Trace {
 public:
  static constexpr std::size_t kLines = 300;
  static constexpr std::size_t kNumbers = 6;

  /// `live`: each is printed when it happens, too.
  Trace(const Timeline& timeline, bool live) : timeline_(timeline), live_(live), lines_(kLines) {}

  /// `format`, which must stay: the numbers are {0} to {5}, the text is {6}.
  void note(const char* format, std::initializer_list<std::uint64_t> numbers, const char* text = "");
  /// Of what is rare.
  void note(const char* format, std::initializer_list<std::uint64_t> numbers, std::string text);

  /// Oldest first, with the world's time in seconds.
  std::vector<std::string> lines() const;
  /// Of all that was noted, and when.
  std::uint64_t fingerprint() const noexcept { return fingerprint_; }

 private:
  struct Line {
    const char* format = nullptr;
    Micros at = 0;
    std::array<std::uint64_t, kNumbers> numbers{};
    const char* text = "";
    std::string own_text{};  // instead of `text`, if there is one
  };
  static void print(const Line& line);
  static std::string text_of(const Line& line);
  void mix(std::uint64_t value) noexcept { fingerprint_ = (fingerprint_ ^ value) * 0x9e3779b97f4a7c15; }
  Line& next(const char* format, std::initializer_list<std::uint64_t> numbers);

  const Timeline& timeline_;
  const bool live_;
  std::vector<Line> lines_;
  std::size_t noted_ = 0;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace nbdgw::sim
