#pragma once

#include <cstddef>
#include <string>

namespace nbdgw::config {

struct FileContent {
  std::string text;
  unsigned mode = 0;  // permission bits, as in st_mode & 07777
  std::string error;  // why the file could not be read; empty: it could
};

/// How the configuration gets at files, so that tests need none.
class FileReader {
 public:
  virtual ~FileReader() = default;

  /// The whole file; an error if it is longer than `max_size` bytes or no regular file.
  virtual FileContent read(const std::string& path, std::size_t max_size) const = 0;
};

/// The files of this machine.
class SystemFileReader : public FileReader {
 public:
  FileContent read(const std::string& path, std::size_t max_size) const override;
};

}  // namespace nbdgw::config
