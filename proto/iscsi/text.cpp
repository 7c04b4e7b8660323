#include "proto/iscsi/text.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace nbdgw::proto::iscsi {

namespace {

bool is_control(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

/// Characters of a standard-label (section 6.1), and those of names that others made up: X#NodeArchitecture
/// (section 13.26), and colons in the place of dots.
bool is_key_character(char c) noexcept {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
         c == '+' || c == '@' || c == '_' || c == '#' || c == ':';
}

bool is_hex(std::string_view digits, std::size_t length) noexcept {
  return digits.size() == length && digits.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

}  // namespace

const char* describe(TextError error) noexcept {
  switch (error) {
    case TextError::none:
      return "no error";
    case TextError::not_terminated:
      return "the last text key is not ended by a NUL";
    case TextError::missing_equals:
      return "a text key without '='";
    case TextError::bad_key:
      return "a text key whose name is empty, too long or has characters that it may not have";
    case TextError::value_too_long:
      return "a text value longer than 8192 bytes";
    case TextError::bad_value:
      return "a text value with control characters";
  }
  return "unknown error";
}

bool TextReader::fail(TextError error) noexcept {
  error_ = error;
  rest_ = {};
  return false;
}

bool TextReader::next(KeyValue& pair) noexcept {
  // Some targets send a NUL too many, between pairs or at the end.
  rest_.remove_prefix(std::min(rest_.find_first_not_of('\0'), rest_.size()));
  if (rest_.empty()) return false;
  const std::size_t end = rest_.find('\0');
  if (end == std::string_view::npos) return fail(TextError::not_terminated);
  const std::string_view text = rest_.substr(0, end);
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) return fail(TextError::missing_equals);
  const std::string_view key = text.substr(0, equals);
  const std::string_view value = text.substr(equals + 1);
  if (key.empty() || key.size() > kMaxKeyLength || !std::all_of(key.begin(), key.end(), is_key_character))
    return fail(TextError::bad_key);
  if (value.size() > kMaxValueLength) return fail(TextError::value_too_long);
  if (std::any_of(value.begin(), value.end(), is_control)) return fail(TextError::bad_value);
  pair = {key, value};
  rest_.remove_prefix(end + 1);
  return true;
}

TextError TextReader::validate(std::string_view data) noexcept {
  TextReader reader(data);
  KeyValue pair;
  while (reader.next(pair)) {
  }
  return reader.error();
}

bool TextWriter::add(std::string_view key, std::string_view value) noexcept {
  const std::size_t length = key.size() + value.size() + 2;
  if (length > buffer_.size() - size_) {
    overflowed_ = true;
    return false;
  }
  char* to = buffer_.data() + size_;
  to = std::copy(key.begin(), key.end(), to);
  *to++ = '=';
  to = std::copy(value.begin(), value.end(), to);
  *to = '\0';
  size_ += length;
  return true;
}

bool TextWriter::add_number(std::string_view key, std::uint64_t value) noexcept {
  char digits[20];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
  return add(key, {digits, static_cast<std::size_t>(end - digits)});
}

bool TextAccumulator::append(std::string_view data) {
  if (data.size() > limit_ - data_.size()) return false;
  data_.append(data);
  return true;
}

bool is_iscsi_name(std::string_view name) noexcept {
  if (name.size() <= 4 || name.size() > kMaxNameLength) return false;
  if (std::any_of(name.begin(), name.end(), [](char c) { return c == ' ' || is_control(c); })) return false;
  const std::string_view rest = name.substr(4);
  if (name.starts_with("iqn.")) return true;
  if (name.starts_with("eui.")) return is_hex(rest, 16);
  return name.starts_with("naa.") && (is_hex(rest, 16) || is_hex(rest, 32));
}

}  // namespace nbdgw::proto::iscsi
