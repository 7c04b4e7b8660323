#include "tests/sim/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nbdgw::sim {

Trace::Line& Trace::next(const char* format, std::initializer_list<std::uint64_t> numbers) {
  Line& line = lines_[noted_++ % lines_.size()];
  line.format = format;
  line.at = timeline_.now();
  std::ranges::copy(numbers, line.numbers.begin());
  mix(static_cast<std::uint64_t>(line.at));
  for (const std::uint64_t number : numbers) mix(number);
  return line;
}

void Trace::note(const char* format, std::initializer_list<std::uint64_t> numbers, const char* text) {
  Line& line = next(format, numbers);
  line.text = text;
  line.own_text.clear();
  if (live_) print(line);
}

void Trace::note(const char* format, std::initializer_list<std::uint64_t> numbers, std::string text) {
  Line& line = next(format, numbers);
  for (const char letter : text) mix(static_cast<unsigned char>(letter));
  line.own_text = std::move(text);
  if (live_) print(line);
}

std::string Trace::text_of(const Line& line) {
  const auto& n = line.numbers;
  const std::string text = line.own_text.empty() ? line.text : line.own_text;
  return fmt::format("{:14.6f} ", static_cast<double>(line.at) / proto::kSecond) +
         fmt::format(fmt::runtime(line.format), n[0], n[1], n[2], n[3], n[4], n[5], text);
}

void Trace::print(const Line& line) {
  fmt::print("{}\n", text_of(line));
}

std::vector<std::string> Trace::lines() const {
  std::vector<std::string> result;
  const std::size_t first = noted_ > lines_.size() ? noted_ - lines_.size() : 0;
  for (std::size_t i = first; i < noted_; ++i) result.push_back(text_of(lines_[i % lines_.size()]));
  return result;
}

}  // namespace nbdgw::sim
