#include "config/report.hpp"

#include <algorithm>
#include <tuple>

namespace nbdgw::config {

std::string Problem::to_string() const {
  std::string out = file;
  if (line > 0) out += ":" + std::to_string(line) + ":" + std::to_string(column);
  out += ": ";
  if (!key.empty()) out += key + ": ";
  return out + text;
}

void Report::add(std::vector<Problem>& list, const YAML::Mark& mark, std::string key, std::string text) {
  const bool placed = !mark.is_null();  // yaml-cpp counts from 0
  list.push_back({file_, placed ? mark.line + 1 : 0, placed ? mark.column + 1 : 0, std::move(key), std::move(text)});
}

void Report::hand_over(ParseResult& result) {
  const auto by_place = [](const Problem& a, const Problem& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  };
  std::stable_sort(errors_.begin(), errors_.end(), by_place);
  std::stable_sort(warnings_.begin(), warnings_.end(), by_place);
  result.errors = std::move(errors_);
  result.warnings = std::move(warnings_);
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string out = "\"";
  for (char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
      continue;
    }
    constexpr char kHex[] = "0123456789abcdef";
    out += "\\x";
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out + (text.size() > kLongest ? "...\"" : "\"");
}

}  // namespace nbdgw::config
