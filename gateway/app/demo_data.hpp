#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gateway/app/progress_line.hpp"

namespace nbdgw::app {

/// The folder for large files: $TMPDIR, or else /var/tmp, which unlike /tmp is seldom memory.
std::string temporary_place();

/// A new folder in temporary_place(), removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Fills a new file with `size` random bytes. Throws std::system_error.
void write_random_file(const std::string& path, std::uint64_t size, ProgressLine& progress);

/// The offset of the first byte that differs, or at which one of the files ends early; nullopt: they are equal.
/// Throws std::system_error.
std::optional<std::uint64_t> first_difference(const std::string& left, const std::string& right);

}  // namespace nbdgw::app
