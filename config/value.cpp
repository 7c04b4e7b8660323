#include "config/value.hpp"

#include <algorithm>

#include "config/suggest.hpp"
#include "config/units.hpp"
#include "proto/assert.hpp"

namespace nbdgw::config {

namespace {

/// yaml-cpp's tag of a scalar without quotes and without an explicit tag.
constexpr std::string_view kPlain = "?";
/// The same with quotes.
constexpr std::string_view kQuoted = "!";
/// What the tags of YAML itself begin with, which are written "!!".
constexpr std::string_view kYamlTag = "tag:yaml.org,2002:";

bool has_tag(const YAML::Node& node, std::string_view usual) {
  const std::string& tag = node.Tag();
  if (tag.empty() || tag == kPlain || (tag == kQuoted && node.IsScalar())) return false;
  return !tag.starts_with(kYamlTag) || tag.substr(kYamlTag.size()) != usual;
}

std::string shown_tag(const YAML::Node& node) {
  const std::string& tag = node.Tag();
  return in_quotes(tag.starts_with(kYamlTag) ? "!!" + tag.substr(kYamlTag.size()) : tag);
}

/// Why digits are no number, if it is that.
std::string leading_zero(std::string_view word) {
  constexpr std::string_view kDigits = "0123456789";
  const bool zero = word.size() > 1 && word[0] == '0' && kDigits.find(word[1]) != std::string_view::npos;
  return zero ? " (write it without the leading zero, which makes it octal to some readers of YAML)" : "";
}

std::string range(const std::string& min, const std::string& max) {
  return "from " + min + " to " + max;
}

std::string join(std::span<const std::string_view> words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += words[i];
  }
  return out;
}

}  // namespace

std::string Value::describe() const {
  switch (node_.Type()) {
    case YAML::NodeType::Map:
      return "a mapping";
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Scalar:
      return in_quotes(node_.Scalar());
    default:
      return "no value";
  }
}

/// The text of a scalar without quotes.
std::optional<std::string> Value::scalar(const std::string& expected) const {
  if (!given()) return std::nullopt;
  if (!node_.IsScalar()) {
    error("expected " + expected + ", found " + describe());
  } else if (node_.Tag() != kPlain) {
    error("expected " + expected + " without quotes or a tag, found the text " + describe());
  } else {
    return node_.Scalar();
  }
  return std::nullopt;
}

/// The text of a scalar with a unit: to YAML that is a string, with quotes (as templates write it) or without.
std::optional<std::string> Value::quantity(const std::string& expected) const {
  if (!given() || tagged("str")) return std::nullopt;
  if (node_.IsScalar()) return node_.Scalar();
  error("expected " + expected + ", found " + describe());
  return std::nullopt;
}

/// True, with a message: the value has a tag of its own, other than the one that it has without. What such a tag
/// makes of it (!!binary is Base64) is not done here.
bool Value::tagged(std::string_view usual) const {
  if (!has_tag(node_, usual)) return false;
  error("found the tag " + shown_tag(node_) + "; write the value as it is, without a tag");
  return true;
}

std::optional<std::string> Value::text() const {
  if (!given() || tagged("str")) return std::nullopt;
  if (node_.IsScalar() && node_.Scalar().find('\0') != std::string::npos) {
    error("has a NUL byte in it, found " + describe() + "; no name, path or address can");
    return std::nullopt;
  }
  if (node_.IsScalar() && !node_.Scalar().empty()) return node_.Scalar();
  error("expected a text, found " + (node_.IsScalar() ? "an empty one" : describe()));
  return std::nullopt;
}

std::optional<bool> Value::boolean() const {
  const auto word = scalar("true or false");
  if (!word) return std::nullopt;
  if (*word == "true") return true;
  if (*word == "false") return false;
  error("expected true or false, found " + in_quotes(*word));
  return std::nullopt;
}

bool Value::is_word(std::string_view word) const {
  return given() && node_.IsScalar() && (node_.Tag() == kPlain || node_.Tag() == kQuoted) && node_.Scalar() == word;
}

std::optional<std::uint64_t> Value::integer(std::uint64_t min, std::uint64_t max, std::string_view what) const {
  const std::string expected = std::string(what) + " " + range(std::to_string(min), std::to_string(max));
  const auto word = scalar(expected);
  if (!word) return std::nullopt;
  const auto number = parse_integer(*word);
  if (number && *number >= min && *number <= max) return number;
  error("expected " + expected + ", found " + in_quotes(*word) + leading_zero(*word));
  return std::nullopt;
}

std::optional<std::uint64_t> Value::size(std::uint64_t min, std::uint64_t max) const {
  const std::string expected = "a size " + range(format_size(min), format_size(max));
  const auto word = quantity(expected);
  if (!word) return std::nullopt;
  const auto bytes = parse_size(*word);
  if (bytes && *bytes >= min && *bytes <= max) return bytes;
  error("expected " + expected + ", found " + in_quotes(*word) +
        (bytes ? "" : " (a whole number with B, KiB, MiB, GiB or TiB right behind it)") + leading_zero(*word));
  return std::nullopt;
}

std::optional<proto::Micros> Value::duration(proto::Micros min, proto::Micros max) const {
  return duration("a time " + range(format_duration(min), format_duration(max)), false, min, max);
}

std::optional<proto::Micros> Value::duration_or_zero(std::string_view meaning, proto::Micros min,
                                                     proto::Micros max) const {
  return duration("0s (" + std::string(meaning) + ") or a time " + range(format_duration(min), format_duration(max)),
                  true, min, max);
}

std::optional<proto::Micros> Value::duration(const std::string& expected, bool zero, proto::Micros min,
                                             proto::Micros max) const {
  const auto word = quantity(expected);
  if (!word) return std::nullopt;
  const auto micros = parse_duration(*word);
  if (micros && ((zero && *micros == 0) || (*micros >= min && *micros <= max))) return micros;
  error("expected " + expected + ", found " + in_quotes(*word) +
        (micros ? "" : " (a whole number with us, ms, s, min or h right behind it)") + leading_zero(*word));
  return std::nullopt;
}

std::optional<std::size_t> Value::choice(std::span<const std::string_view> words) const {
  const auto word = text();
  if (!word) return std::nullopt;
  const auto found = std::find(words.begin(), words.end(), *word);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  const std::string_view near = nearest(*word, words);
  error("expected " + join(words) + ", found " + in_quotes(*word) +
        (near.empty() ? "" : "; did you mean " + std::string(near) + "?"));
  return std::nullopt;
}

std::optional<std::vector<Value>> Value::list(std::string_view of_what) const {
  if (!given() || tagged("seq")) return std::nullopt;
  if (!node_.IsSequence() || node_.size() == 0) {
    error("expected a list of " + std::string(of_what) + ", found " +
          (node_.IsSequence() ? "an empty one" : describe()));
    return std::nullopt;
  }
  std::vector<Value> values;
  for (std::size_t i = 0; i < node_.size(); ++i) {
    values.emplace_back(node_[i], path_ + "[" + std::to_string(i) + "]", *report_);
  }
  return values;
}

std::optional<std::vector<Value>> Value::one_or_list(std::string_view of_what) const {
  if (given() && node_.IsScalar()) return std::vector{*this};
  return list(of_what);
}

std::optional<Section> Value::section(std::span<const std::string_view> keys) const {
  if (!given() || tagged("map")) return std::nullopt;
  if (node_.IsMap()) return Section(node_, path_, keys, *report_);
  error("expected a mapping with the keys " + join(keys) + ", found " + describe());
  return std::nullopt;
}

Section::Section(const YAML::Node& node, std::string path, std::span<const std::string_view> keys, Report& report)
    : path_(std::move(path)), mark_(node.Mark()), keys_(keys), report_(&report) {
  for (const auto& item : node) {
    if (!item.first.IsScalar() || std::find(keys.begin(), keys.end(), item.first.Scalar()) == keys.end()) {
      unknown_key(item.first);
      continue;
    }
    const std::string& key = item.first.Scalar();
    if (has_tag(item.first, "str")) {
      report.error(item.first.Mark(), path_of(key),
                   "found the tag " + shown_tag(item.first) + " before the key; write the key without a tag");
    }
    const auto earlier = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    if (earlier != entries_.end()) {
      report.error(
          item.first.Mark(), path_of(key),
          "is given twice, first in line " + std::to_string(earlier->place.line + 1) + "; keep one of the two");
      continue;
    }
    entries_.push_back({key, item.first.Mark(), item.second});
  }
}

Value Section::get(std::string_view key) const {
  NBDGW_ASSERT(std::find(keys_.begin(), keys_.end(), key) != keys_.end(), "the key is not in config/keys.hpp");
  for (const Entry& entry : entries_) {
    if (entry.key != key) continue;
    // yaml-cpp places a value that is not there at whatever comes next; the key is where to look.
    return {entry.value, path_of(key), *report_, entry.value.IsNull() ? entry.place : YAML::Mark::null_mark()};
  }
  return Value::absent(path_of(key), *report_);
}

Value Section::required(std::string_view key, std::string_view example) const {
  Value value = get(key);
  if (!value.given()) {
    report_->error(mark_, path_of(key), "is missing; for example " + std::string(key) + ": " + std::string(example));
  }
  return value;
}

std::string Section::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

void Section::unknown_key(const YAML::Node& key) const {
  if (!key.IsScalar()) {
    report_->error(key.Mark(), path_, "a key must be a single word");
    return;
  }
  const std::string& word = key.Scalar();
  // Never quote the value of such a key: it may be the secret itself.
  const bool secret = word == "secret" || word == "password";
  const bool by_file = std::find(keys_.begin(), keys_.end(), "secret_file") != keys_.end();
  std::string text = "unknown key; ";
  const std::string_view near = nearest(word, keys_);
  if (secret && by_file) {
    text += "secrets do not stand in this file: write secret_file: PATH of a file that holds it";
  } else if (!near.empty()) {
    text += "did you mean " + std::string(near) + "?";
  } else {
    text += "here may stand " + join(keys_);
  }
  std::string shown = in_quotes(word);
  report_->error(key.Mark(), path_of(shown.substr(1, shown.size() - 2)), std::move(text));
}

}  // namespace nbdgw::config
