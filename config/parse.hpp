#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/file_reader.hpp"
#include "config/model.hpp"

namespace nbdgw::config {

/// Something about a configuration that its author should change.
struct Problem {
  std::string file;
  int line = 0;      // from 1; 0: the file as a whole
  int column = 0;    // from 1
  std::string key;   // "targets[0].portals[1]"; empty: the file as a whole
  std::string text;  // what is wrong, and what would be right

  /// "FILE:LINE:COLUMN: KEY: TEXT"
  std::string to_string() const;
};

struct ParseResult {
  std::optional<Config> config;   // there exactly if there are no errors
  std::vector<Problem> errors;    // all of them, in the order of the file
  std::vector<Problem> warnings;  // it works, but should not stay so
};

/// Reads a configuration from the text of a YAML file. `file` is its name, for the messages and as the place from
/// which relative paths in it are meant. Other files (secrets) are read through `reader` only.
ParseResult parse(std::string_view yaml, const std::string& file, const FileReader& reader);

/// Reads a configuration file of at most 1 MiB.
ParseResult load(const std::string& path, const FileReader& reader);

}  // namespace nbdgw::config
