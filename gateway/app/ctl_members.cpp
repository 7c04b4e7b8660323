#include "gateway/app/ctl_members.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "gateway/app/ctl_text.hpp"

namespace nbdgw::app::members {

namespace json = boost::json;

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out;
}

const json::value& at(const json::value& value, std::string_view path) {
  static const json::value kNone;
  const json::value* here = &value;
  while (!path.empty()) {
    const std::size_t dot = std::min(path.find('.'), path.size());
    const json::object* object = here->if_object();
    here = object != nullptr ? object->if_contains({path.data(), dot}) : nullptr;
    if (here == nullptr) return kNone;
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return *here;
}

std::string plain(const json::value& value) {
  if (value.is_null()) return "-";
  if (const json::string* text = value.if_string())
    return text->empty() ? "-" : printable({text->data(), text->size()});
  if (value.is_bool()) return value.get_bool() ? "yes" : "no";
  return json::serialize(value);
}

std::string text(const json::value& value, std::string_view path) {
  return plain(at(value, path));
}

double number(const json::value& value) {
  json::error_code error;
  const double result = value.to_number<double>(error);
  return error ? 0 : result;
}

std::string seconds(const json::value& value, std::string_view path) {
  const json::value& member = at(value, path);
  return member.is_number() ? human_seconds(number(member)) : "-";
}

}  // namespace nbdgw::app::members
