#include "gateway/net/log_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace nbdgw::net::log {

namespace {

constexpr std::string_view kUnix = "unix";                 // and then who is there (peer_text())
constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// A character that must not get to a terminal or end a line: C0, DEL, or C1 (U+0080 to U+009F).
bool is_control(std::string_view character) noexcept {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  return character.size() == 2 && first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
}

void append_escaped(std::string& out, std::string_view bytes) {
  for (const char c : bytes) fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
}

/// Calls `take(character, good)` for each: a whole sequence, or one byte that begins none.
template <typename Take>
void each_character(std::string_view text, Take take) {
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    take(text.substr(0, std::max<std::size_t>(length, 1)), length > 0);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

/// Where to cut so that no sequence is broken.
std::size_t place_to_cut(std::string_view text, std::size_t most) noexcept {
  std::size_t end = std::min(most, text.size());
  const auto continues = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80; };
  for (int i = 0; i < 3 && end > 0 && end < text.size() && continues(end); ++i) --end;
  return end;
}

}  // namespace

std::size_t sequence_length(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  if (at(0) < 0x80) return 1;
  const std::size_t length = at(0) >= 0xf0 ? 4 : at(0) >= 0xe0 ? 3 : 2;
  if (at(0) < 0xc2 || at(0) > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  // Not the shortest form, a surrogate, or beyond U+10FFFF (RFC 3629 section 4).
  if (at(0) == 0xe0 && at(1) < 0xa0) return 0;
  if (at(0) == 0xed && at(1) > 0x9f) return 0;
  if (at(0) == 0xf0 && at(1) < 0x90) return 0;
  if (at(0) == 0xf4 && at(1) > 0x8f) return 0;
  return length;
}

std::string shortened(std::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string(text);
  const std::size_t end = place_to_cut(text, most);
  return fmt::format("{}... ({} bytes more)", text.substr(0, end), text.size() - end);
}

std::string quoted(std::string_view text, std::size_t most) {
  const std::size_t end = place_to_cut(text, most);
  std::string out = "\"";
  each_character(text.substr(0, end), [&out](std::string_view character, bool good) {
    if (!good || is_control(character)) return append_escaped(out, character);
    if (character == "\"" || character == "\\") out += '\\';
    out += character;
  });
  out += '"';
  if (end < text.size()) fmt::format_to(std::back_inserter(out), "... ({} bytes more)", text.size() - end);
  return out;
}

void append_one_line(std::string& out, std::string_view text) {
  each_character(text, [&out](std::string_view character, bool good) {
    if (!good || is_control(character)) return append_escaped(out, character);
    out += character;
  });
}

void append_json(std::string& out, std::string_view text) {
  out += '"';
  each_character(text, [&out](std::string_view character, bool good) {
    if (!good) {
      out += kReplacement;
    } else if (character == "\"" || character == "\\") {
      out += '\\';
      out += character;
    } else if (is_control(character)) {
      const auto last = static_cast<unsigned char>(character.back());  // the second byte of C1 is the number itself
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", last);
    } else {
      out += character;
    }
  });
  out += '"';
}

std::string shape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_digit(text[i])) {
      out += text[i];
    } else if (i == 0 || !is_digit(text[i - 1])) {
      out += '#';
    }
  }
  return out;
}

std::string_view address_in(std::string_view peer) noexcept {
  return peer.starts_with(kUnix) ? peer : peer.substr(0, peer.find(','));
}

std::string_view host_of(std::string_view peer) noexcept {
  if (peer.starts_with(kUnix)) return kUnix;
  const std::size_t colon = peer.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == peer.size()) return peer;
  if (!std::ranges::all_of(peer.substr(colon + 1), is_digit)) return peer;
  const std::string_view host = peer.substr(0, colon);
  // Without brackets it is an IPv6 address that has no port.
  return host.find(':') != std::string_view::npos && !host.ends_with(']') ? peer : host;
}

std::string_view target_in(std::string_view label) noexcept {
  return label.substr(0, label.find(','));  // which no name has
}

}  // namespace nbdgw::net::log
