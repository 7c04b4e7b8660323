#include "gateway/http/request_fields.hpp"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cmath>
#include <set>

#include "gateway/http/json_text.hpp"
#include "gateway/http/router.hpp"
#include "proto/time.hpp"

namespace nbdgw::http {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxShown = 64;  // of what is quoted back

std::string in_quotes(std::string_view text) {
  json::string shown(text.substr(0, kMaxShown));
  if (text.size() > kMaxShown) shown += "...";
  return json::serialize(shown);
}

std::string list(std::initializer_list<std::string_view> names) {
  std::string out;
  for (const std::string_view each : names) out.append(out.empty() ? "" : ", ").append(each);
  return out.empty() ? "none" : out;
}

/// Takes no notice of anything but names (boost::json::basic_parser).
struct NameChecker {
  static constexpr std::size_t max_object_size = ~std::size_t{0};
  static constexpr std::size_t max_array_size = ~std::size_t{0};
  static constexpr std::size_t max_key_size = ~std::size_t{0};
  static constexpr std::size_t max_string_size = ~std::size_t{0};
  using Error = boost::system::error_code;

  std::vector<std::set<std::string>> open;  // names of the objects that are not closed yet
  std::string key;
  std::optional<std::string> duplicate;

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    open.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t, Error&) {
    open.pop_back();
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(std::size_t, Error&) { return true; }
  bool on_key_part(json::string_view part, std::size_t, Error&) {
    key.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, Error&) {
    key.append(part.data(), part.size());
    if (!open.back().insert(key).second && !duplicate) duplicate = key;
    key.clear();
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, Error&) { return true; }
  bool on_string(json::string_view, std::size_t, Error&) { return true; }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(std::int64_t, json::string_view, Error&) { return true; }
  bool on_uint64(std::uint64_t, json::string_view, Error&) { return true; }
  bool on_double(double, json::string_view, Error&) { return true; }
  bool on_bool(bool, Error&) { return true; }
  bool on_null(Error&) { return true; }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }
};

}  // namespace

std::optional<std::string> duplicate_member(std::string_view text) {
  json::basic_parser<NameChecker> parser{json::parse_options{}};
  boost::system::error_code broken;
  parser.write_some(false, text.data(), text.size(), broken);
  return broken ? std::nullopt : parser.handler().duplicate;
}

bool is_json(const Request& request) noexcept {
  std::string_view type = std::string_view(request.content_type).substr(0, request.content_type.find(';'));
  while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
  return boost::beast::iequals({type.data(), type.size()}, "application/json");
}

Refusal not_json() {
  return {415, "bad_content_type", "a change is posted as Content-Type: application/json"};
}

std::optional<std::uint64_t> path_number(std::string_view text, std::uint64_t most) noexcept {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number > most) return std::nullopt;
  return number;
}

// ---- Fields

Fields::Fields(const Request& request, std::initializer_list<std::string_view> known) {
  if (!is_json(request)) {
    refusal_ = not_json();
    return;
  }
  // Least of all is it overlooked that somebody has written ?dry_run=true.
  if (!request.query.empty()) {
    refusal_ =
        Refusal{400, "unknown_parameter", "what a change shall be stands in the body, and nothing in the query"};
    return;
  }
  if (request.body.find_first_not_of(" \t\r\n") == std::string::npos) return;  // counts as {}
  boost::system::error_code broken;
  json::value document = json::parse({request.body.data(), request.body.size()}, broken);
  if (broken) {
    refuse("bad_json", {}, "the body is no JSON: " + broken.message());
    return;
  }
  if (!document.is_object()) {
    refuse("bad_json", {}, "the body is no object: " + in_quotes(to_text(document)));
    return;
  }
  if (const auto twice = duplicate_member(request.body)) {
    refuse("duplicate_field", *twice, in_quotes(*twice) + " is there twice");
    return;
  }
  object_ = std::move(document.get_object());
  for (const auto& member : object_) {
    const std::string_view name(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      refuse("unknown_field", name, in_quotes(name) + " is not known here; known are: " + list(known));
      return;
    }
  }
}

void Fields::refuse(std::string_view code, std::string_view name, std::string_view text) {
  if (!refusal_) refusal_ = Refusal{400, std::string(code), std::string(text), std::string(name)};
}

void Fields::refuse(std::string_view name, std::string_view text) {
  refuse("bad_field", name, std::string(name) + ": " + std::string(text));
}

void Fields::wrong(std::string_view name, std::string_view wanted) {
  refuse(name, "expected " + std::string(wanted) + ", found " + in_quotes(to_text(object_.at(name))));
}

void Fields::require(std::string_view name) {
  if (!object_.contains(name)) refuse("missing_field", name, std::string(name) + " is missing");
}

bool Fields::flag(std::string_view name, bool otherwise) {
  const json::value* value = object_.if_contains(name);
  if (value == nullptr) return otherwise;
  if (value->is_bool()) return value->get_bool();
  wrong(name, "true or false");
  return otherwise;
}

std::optional<std::uint64_t> Fields::number(std::string_view name, std::uint64_t least, std::uint64_t most) {
  const json::value* value = object_.if_contains(name);
  if (value == nullptr) return std::nullopt;
  std::optional<std::uint64_t> number;
  if (value->is_uint64()) number = value->get_uint64();
  if (value->is_int64() && value->get_int64() >= 0) number = static_cast<std::uint64_t>(value->get_int64());
  if (number && *number >= least && *number <= most) return number;
  wrong(name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return std::nullopt;
}

std::optional<std::string> Fields::text(std::string_view name) {
  const json::value* value = object_.if_contains(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(value->get_string());
  wrong(name, "a text");
  return std::nullopt;
}

std::optional<std::size_t> Fields::choice(std::string_view name, std::initializer_list<std::string_view> choices) {
  const json::value* value = object_.if_contains(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) {
    const std::string_view text(value->get_string().data(), value->get_string().size());
    const auto* found = std::find(choices.begin(), choices.end(), text);
    if (found != choices.end()) return static_cast<std::size_t>(found - choices.begin());
  }
  wrong(name, "one of " + list(choices));
  return std::nullopt;
}

// ---- Query

Query::Query(const Request& request, std::initializer_list<std::string_view> known) {
  std::string_view rest = request.query;
  while (!rest.empty() && !refusal_) {
    const std::string_view one = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
    const std::size_t sign = std::min(one.find('='), one.size());
    auto name = decode_percent(one.substr(0, sign));
    auto value = decode_percent(one.substr(std::min(sign + 1, one.size())));
    if (!name || !value) {
      refusal_ = Refusal{400, "bad_parameter", "the query has a broken %-encoding"};
    } else if (std::find(known.begin(), known.end(), *name) == known.end()) {
      refusal_ = Refusal{400, "unknown_parameter", in_quotes(*name) + " is not known here; known are: " + list(known),
                         *name};
    } else if (find(*name) != nullptr) {
      refusal_ = Refusal{400, "bad_parameter", *name + " is there twice", *name};
    } else {
      pairs_.emplace_back(*std::move(name), *std::move(value));
    }
  }
}

const std::string* Query::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(pairs_, name, &std::pair<std::string, std::string>::first);
  return found == pairs_.end() ? nullptr : &found->second;
}

void Query::wrong(std::string_view name, std::string_view wanted) {
  if (refusal_) return;
  refusal_ = Refusal{400, "bad_parameter",
                     std::string(name) + ": expected " + std::string(wanted) + ", found " + in_quotes(*find(name)),
                     std::string(name)};
}

std::uint64_t Query::number(std::string_view name, std::uint64_t least, std::uint64_t most, std::uint64_t otherwise) {
  const std::string* text = find(name);
  if (text == nullptr) return otherwise;
  const auto number = path_number(*text, most);
  if (number && *number >= least) return *number;
  wrong(name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return otherwise;
}

bool Query::flag(std::string_view name) {
  const std::string* text = find(name);
  if (text == nullptr || *text == "false" || *text == "0") return false;
  if (!text->empty() && *text != "true" && *text != "1") wrong(name, "nothing, true or false");
  return true;
}

std::int64_t Query::seconds(std::string_view name, std::int64_t most, std::int64_t otherwise) {
  const std::string* text = find(name);
  if (text == nullptr) return otherwise;
  double number = 0;
  const auto [end, error] =
      std::from_chars(text->data(), text->data() + text->size(), number, std::chars_format::fixed);
  const bool fits = error == std::errc{} && end == text->data() + text->size() && number >= 0 &&
                    number <= static_cast<double>(most) / proto::kSecond;
  if (fits) return std::llround(number * proto::kSecond);
  wrong(name, "seconds from 0 to " + std::to_string(most / proto::kSecond));
  return otherwise;
}

bool has_query(const Request& request, Reply& reply) {
  const Query query(request, {});
  if (query.refusal()) reply.send(query.refusal()->response());
  return query.refusal().has_value();
}

}  // namespace nbdgw::http
