#include "gateway/http/json_text.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>
#include <ctime>
#include <string_view>

#include "config/names.hpp"

namespace nbdgw::http {

namespace json = boost::json;

namespace {

void write(const json::value& value, std::string& out);

/// What targets say of themselves may be anything, but JSON is UTF-8: bytes that are none become U+FFFD.
void write(std::string_view text, std::string& out) {
  if (config::is_utf8(text)) {
    out += json::serialize(json::string_view(text.data(), text.size()));
    return;
  }
  std::string clean;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80)
      clean += c;
    else
      clean += "\xEF\xBF\xBD";
  }
  out += json::serialize(json::string_view(clean));
}

void write(const json::array& array, std::string& out) {
  out += '[';
  for (const json::value& each : array) {
    if (out.back() != '[') out += ',';
    write(each, out);
  }
  out += ']';
}

void write(const json::object& object, std::string& out) {
  out += '{';
  for (const auto& member : object) {
    if (out.back() != '{') out += ',';
    write(std::string_view(member.key().data(), member.key().size()), out);
    out += ':';
    write(member.value(), out);
  }
  out += '}';
}

void write(const json::value& value, std::string& out) {
  switch (value.kind()) {
    case json::kind::array:
      return write(value.get_array(), out);
    case json::kind::object:
      return write(value.get_object(), out);
    case json::kind::string:
      return write(std::string_view(value.get_string().data(), value.get_string().size()), out);
    case json::kind::double_:
      // JSON has no infinity, and nothing here should be one.
      out += std::isfinite(value.get_double()) ? fmt::format("{}", value.get_double()) : "null";
      return;
    default:
      out += json::serialize(value);
  }
}

}  // namespace

std::string to_text(const json::value& value) {
  std::string out;
  write(value, out);
  return out;
}

std::string time_text(std::int64_t micros) {
  const auto second = static_cast<std::time_t>(micros / proto::kSecond);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(second), micros % proto::kSecond);
}

}  // namespace nbdgw::http
