#include "config/names.hpp"

#include <algorithm>
#include <cstdint>

namespace nbdgw::config {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

bool all_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), is_hex);
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), is_control);
}

/// RFC 3722 section 6 for what is ASCII; letters as they are after its folding.
bool strict_character(char c) {
  return is_lower(c) || is_digit(c) || c == '-' || c == '.' || c == ':';
}

/// Anything that stands for itself in a text key's value (RFC 7143 section 6.1) and is no separator.
bool lenient_character(char c) {
  return !is_control(c) && c != ' ' && c != ',' && c != '=';
}

constexpr std::string_view kIqnForm = "expected iqn.YEAR-MONTH.DOMAIN:TEXT, such as iqn.2026-11.com.example:host-1";

std::string check_iqn(std::string_view name) {
  // iqn.2026-11.com.example
  if (name.size() < 13 || !std::all_of(name.begin() + 4, name.begin() + 8, is_digit) || name[8] != '-' ||
      !is_digit(name[9]) || !is_digit(name[10]) || name[11] != '.') {
    return std::string(kIqnForm);
  }
  const int month = (name[9] - '0') * 10 + (name[10] - '0');
  if (month < 1 || month > 12)
    return "\"" + std::string(name.substr(9, 2)) + "\" is no month; " + std::string(kIqnForm);
  const std::string_view rest = name.substr(12);
  const std::string_view domain = rest.substr(0, rest.find(':'));
  if (domain.empty() || domain.front() == '.' || domain.back() == '.' ||
      domain.find("..") != std::string_view::npos) {
    return "the naming authority's domain (reversed, such as com.example) is missing or malformed; " +
           std::string(kIqnForm);
  }
  if (rest.ends_with(':') && domain.size() + 1 == rest.size()) return "nothing follows the colon";
  return {};
}

}  // namespace

std::string check_iscsi_name(std::string_view name, NameOf whose) {
  if (name.size() > kMaxIscsiName) {
    return "has " + std::to_string(name.size()) + " bytes; an iSCSI name has at most " +
           std::to_string(kMaxIscsiName);
  }
  if (!is_utf8(name)) return "is no UTF-8";
  for (char c : name) {
    if (whose == NameOf::initiator ? !strict_character(c) : !lenient_character(c)) {
      if (whose == NameOf::initiator && c >= 'A' && c <= 'Z' &&
          (name.starts_with("eui.") || name.starts_with("naa."))) {
        continue;
      }
      return whose == NameOf::initiator
                 ? "only a-z, 0-9, '-', '.' and ':' may stand in an initiator name; " + std::string(kIqnForm)
                 : "spaces, control characters, ',' and '=' cannot stand in a target name";
    }
  }
  if (name.starts_with("iqn.")) return check_iqn(name);
  if (name.starts_with("eui.")) {
    return name.size() == 20 && all_hex(name.substr(4)) ? "" : "expected eui. and 16 hexadecimal digits";
  }
  if (name.starts_with("naa.")) {
    return (name.size() == 20 || name.size() == 36) && all_hex(name.substr(4))
               ? ""
               : "expected naa. and 16 or 32 hexadecimal digits";
  }
  return "an iSCSI name begins with iqn., eui. or naa.; " + std::string(kIqnForm);
}

std::string check_target_name(std::string_view name) {
  const bool good =
      !name.empty() && name.size() <= kMaxTargetName && std::all_of(name.begin(), name.end(), [](char c) {
        return is_lower(c) || is_digit(c) || c == '.' || c == '_' || c == '-';
      });
  return good ? "" : "expected 1 to " + std::to_string(kMaxTargetName) + " of a-z, 0-9, '.', '_' and '-'";
}

std::string check_export_name(std::string_view name) {
  if (name.empty()) return "is empty: a client asks for an export by its name";
  if (name.size() > kMaxExportName) {
    return "has " + std::to_string(name.size()) + " bytes; NBD allows " + std::to_string(kMaxExportName);
  }
  if (!is_utf8(name)) return "is no UTF-8";
  if (has_control(name)) return "control characters cannot stand in the name of an export";
  if (name.front() == ' ' || name.back() == ' ') return "begins or ends with a space";
  return {};
}

std::string check_description(std::string_view text) {
  if (text.size() > kMaxDescription) {
    return "has " + std::to_string(text.size()) + " bytes; NBD allows " + std::to_string(kMaxDescription);
  }
  if (!is_utf8(text)) return "is no UTF-8";
  if (has_control(text)) return "control characters (line breaks too) cannot stand in a description";
  return {};
}

std::optional<LogLevel> parse_log_level(std::string_view word) noexcept {
  const auto found = std::find(kLogLevels.begin(), kLogLevels.end(), word);
  if (found == kLogLevels.end()) return std::nullopt;
  return static_cast<LogLevel>(found - kLogLevels.begin());
}

std::optional<LogFormat> parse_log_format(std::string_view word) noexcept {
  const auto found = std::find(kLogFormats.begin(), kLogFormats.end(), word);
  if (found == kLogFormats.end()) return std::nullopt;
  return static_cast<LogFormat>(found - kLogFormats.begin());
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const std::size_t length = first < 0x80         ? 1
                               : first >> 5 == 0x6  ? 2
                               : first >> 4 == 0xe  ? 3
                               : first >> 3 == 0x1e ? 4
                                                    : 0;
    if (length == 0 || i + length > text.size()) return false;
    std::uint32_t point = length == 1 ? first : first & (0x7fU >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if (next >> 6 != 0x2) return false;
      point = point << 6 | (next & 0x3fU);
    }
    constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
    i += length;
  }
  return true;
}

}  // namespace nbdgw::config
