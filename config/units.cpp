#include "config/units.hpp"

#include <array>
#include <charconv>
#include <limits>
#include <span>

namespace nbdgw::config {

namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

// Smallest first.
constexpr std::array<Unit, 5> kSizes{
    {{"B", 1}, {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}, {"TiB", 1ULL << 40}}};
constexpr std::array<Unit, 5> kDurations{
    {{"us", 1}, {"ms", 1'000}, {"s", 1'000'000}, {"min", 60'000'000}, {"h", 3'600'000'000}}};

std::optional<std::uint64_t> parse(std::string_view text, std::span<const Unit> units, bool unit_needed) noexcept {
  const std::size_t digits = text.find_first_not_of("0123456789");
  const auto number = parse_integer(text.substr(0, digits));
  if (!number) return std::nullopt;
  if (digits == std::string_view::npos) return unit_needed ? std::nullopt : number;
  for (const Unit& unit : units) {
    if (unit.name != text.substr(digits)) continue;
    if (*number > std::numeric_limits<std::uint64_t>::max() / unit.factor) return std::nullopt;
    return *number * unit.factor;
  }
  return std::nullopt;
}

std::string format(std::uint64_t value, std::span<const Unit> units, std::string_view zero) {
  if (value == 0) return std::string(zero);
  for (std::size_t i = units.size(); i-- > 0;) {
    if (value % units[i].factor == 0) return std::to_string(value / units[i].factor) + std::string(units[i].name);
  }
  return std::to_string(value);
}

}  // namespace

std::optional<std::uint64_t> parse_integer(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  return parse(text, kSizes, false);
}

std::optional<proto::Micros> parse_duration(std::string_view text) noexcept {
  const auto micros = parse(text, kDurations, true);
  if (!micros || *micros > static_cast<std::uint64_t>(std::numeric_limits<proto::Micros>::max())) return std::nullopt;
  return static_cast<proto::Micros>(*micros);
}

std::string format_size(std::uint64_t bytes) {
  return format(bytes, kSizes, "0B");
}

std::string format_duration(proto::Micros micros) {
  return format(static_cast<std::uint64_t>(micros), kDurations, "0s");
}

}  // namespace nbdgw::config
