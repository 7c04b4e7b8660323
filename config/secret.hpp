#pragma once

#include <optional>
#include <string>

#include "config/file_reader.hpp"
#include "config/value.hpp"

namespace nbdgw::config {

/// A CHAP secret shorter than this is to be used under IPsec only (RFC 7143 section 9.2.1: 96 bits).
inline constexpr std::size_t kShortSecret = 12;  // bytes
inline constexpr std::size_t kLongestSecret = 255;

/// What is wrong with `content` as a file with a secret; empty: nothing is, and the line break at its end is off.
std::string take_secret(const std::string& path, FileContent& content);

/// A path of the configuration: a relative one starts at the configuration file's folder.
std::string beside(const std::string& config_file, std::string path);

/// A secret, and the file that it was read from.
struct Secret {
  std::string path;
  std::string text;  // never logged, never shown
};

/// Reads the secret that `value` (a key with the path of a file) refers to. Reports what is wrong with it.
std::optional<Secret> read_secret_file(const Value& value, const std::string& config_file, const FileReader& reader);

/// The same for CHAP, where a short one is unwise.
std::optional<Secret> read_secret(const Value& value, const std::string& config_file, const FileReader& reader);

}  // namespace nbdgw::config
