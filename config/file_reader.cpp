#include "config/file_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace nbdgw::config {

namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

/// Closes what it holds.
struct Descriptor {
  explicit Descriptor(int opened) : number(opened) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  int number;
};

}  // namespace

FileContent SystemFileReader::read(const std::string& path, std::size_t max_size) const {
  FileContent content;
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (file.number < 0 || ::fstat(file.number, &status) != 0) {
    content.error = reason(errno);
    return content;
  }
  content.mode = status.st_mode & 07777;
  if (!S_ISREG(status.st_mode)) {
    content.error = "is no regular file";
    return content;
  }
  // One byte more than allowed is asked for: a file may grow between fstat() and read().
  content.text.resize(max_size + 1);
  std::size_t filled = 0;
  while (filled < content.text.size()) {
    const ssize_t n = ::read(file.number, content.text.data() + filled, content.text.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) content.error = reason(errno);
    if (n <= 0) break;
    filled += static_cast<std::size_t>(n);
  }
  content.text.resize(filled);
  if (filled > max_size) content.error = "is longer than " + std::to_string(max_size) + " bytes";
  if (!content.error.empty()) content.text.clear();
  return content;
}

}  // namespace nbdgw::config
