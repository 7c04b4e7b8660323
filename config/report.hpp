#pragma once

#include <yaml-cpp/mark.h>

#include <string>
#include <string_view>
#include <vector>

#include "config/parse.hpp"

namespace nbdgw::config {

/// Gathers what is wrong with one file.
class Report {
 public:
  explicit Report(std::string file) : file_(std::move(file)) {}

  void error(const YAML::Mark& mark, std::string key, std::string text) {
    add(errors_, mark, std::move(key), std::move(text));
  }
  void warning(const YAML::Mark& mark, std::string key, std::string text) {
    add(warnings_, mark, std::move(key), std::move(text));
  }

  const std::string& file() const noexcept { return file_; }
  bool failed() const noexcept { return !errors_.empty(); }

  /// Moves everything into `result`, in the order of the file.
  void hand_over(ParseResult& result);

 private:
  void add(std::vector<Problem>& list, const YAML::Mark& mark, std::string key, std::string text);

  std::string file_;
  std::vector<Problem> errors_;
  std::vector<Problem> warnings_;
};

/// `text` in double quotes, shortened and with control characters made visible, to stand in a message.
std::string in_quotes(std::string_view text);

}  // namespace nbdgw::config
