#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/report.hpp"
#include "proto/time.hpp"

namespace nbdgw::config {

class Section;

/// A value of the file with its place. Each reading function reports what is wrong with the value and then returns
/// nothing; it returns nothing without a word if the key was not given.
class Value {
 public:
  /// `place` is where messages point to; without it, to the value itself.
  Value(YAML::Node node, std::string path, Report& report, YAML::Mark place = YAML::Mark::null_mark())
      : node_(std::move(node)),
        path_(std::move(path)),
        mark_(place.is_null() ? node_.Mark() : place),
        report_(&report) {}

  /// The value of a key that is not there.
  static Value absent(std::string path, Report& report) {
    return {YAML::Node(YAML::NodeType::Undefined), std::move(path), report};
  }

  bool given() const { return node_.IsDefined(); }
  const std::string& path() const noexcept { return path_; }
  YAML::Mark mark() const { return mark_; }

  /// Any scalar that is not empty.
  std::optional<std::string> text() const;
  std::optional<bool> boolean() const;
  /// `what` is how the message calls it.
  std::optional<std::uint64_t> integer(std::uint64_t min, std::uint64_t max,
                                       std::string_view what = "a whole number") const;
  /// Exactly this word, with quotes (as in JSON) or without. Reports nothing.
  bool is_word(std::string_view word) const;
  /// Bytes; `min` and `max` too.
  std::optional<std::uint64_t> size(std::uint64_t min, std::uint64_t max) const;
  std::optional<proto::Micros> duration(proto::Micros min, proto::Micros max) const;
  /// As duration(), or 0; `meaning` is what the message says that 0 stands for.
  std::optional<proto::Micros> duration_or_zero(std::string_view meaning, proto::Micros min, proto::Micros max) const;
  /// One of the words given: its index.
  std::optional<std::size_t> choice(std::span<const std::string_view> words) const;
  /// The elements of a list with at least one element.
  std::optional<std::vector<Value>> list(std::string_view of_what) const;
  /// The same, or one element without its list.
  std::optional<std::vector<Value>> one_or_list(std::string_view of_what) const;
  /// A mapping with no keys but these.
  std::optional<Section> section(std::span<const std::string_view> keys) const;

  /// The place of an element of a list.
  YAML::Mark element_mark(std::size_t index) const { return node_[index].Mark(); }

  void error(std::string text) const { report_->error(mark(), path_, std::move(text)); }
  void warning(std::string text) const { report_->warning(mark(), path_, std::move(text)); }

 private:
  std::optional<std::string> scalar(const std::string& expected) const;
  bool tagged(std::string_view usual) const;
  std::optional<std::string> quantity(const std::string& expected) const;
  std::optional<proto::Micros> duration(const std::string& expected, bool zero, proto::Micros min,
                                        proto::Micros max) const;
  std::string describe() const;

  YAML::Node node_;
  std::string path_;
  YAML::Mark mark_;
  Report* report_;
};

/// A mapping of the file. Duplicate and unknown keys are reported when it is made.
class Section {
 public:
  Section(const YAML::Node& node, std::string path, std::span<const std::string_view> keys, Report& report);

  /// The value of `key`, which must be one of those given to the constructor.
  Value get(std::string_view key) const;

  /// As get(), and reports it if the key is not there; `example` is what it might look like.
  Value required(std::string_view key, std::string_view example) const;

  const std::string& path() const noexcept { return path_; }
  YAML::Mark mark() const { return mark_; }

 private:
  std::string path_of(std::string_view key) const;
  void unknown_key(const YAML::Node& key) const;

  struct Entry {
    std::string key;
    YAML::Mark place;
    YAML::Node value;
  };
  std::vector<Entry> entries_;
  std::string path_;
  YAML::Mark mark_;
  std::span<const std::string_view> keys_;
  Report* report_;
};

/// Overwrites the default with what was given, if something was.
template <typename To, typename From>
void assign(To& to, std::optional<From>&& from) {
  if (from) to = static_cast<To>(*std::move(from));
}

}  // namespace nbdgw::config
