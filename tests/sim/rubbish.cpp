// The payload memory of the gateway is full of rubbish at first, as if others had used it: what it hands out without
// having written it is seen then. (The linker sends its mmap() here: syscalls.cpp.)
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <vector>

namespace {

constexpr std::size_t kArena = 1 << 20;  // nothing smaller is one
constexpr unsigned char kRubbish = 0xa5;

/// A file of it, in memory. Pages are copied from there when they are written to, so it costs nothing to begin with.
int rubbish_file(std::size_t bytes) {
  static const int file = ::memfd_create("rubbish", 0);
  static std::size_t size = 0;
  const std::vector<unsigned char> page(kArena, kRubbish);
  while (size < bytes) {
    if (::pwrite(file, page.data(), page.size(), static_cast<off_t>(size)) != static_cast<ssize_t>(page.size()))
      std::abort();
    size += page.size();
  }
  return file;
}

}  // namespace

extern "C" {

void* __real_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset);

void* __wrap_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  if ((flags & MAP_ANONYMOUS) == 0 || length < kArena) {
    return __real_mmap(address, length, protection, flags, fd, offset);
  }
  return __real_mmap(nullptr, length, protection, MAP_PRIVATE | MAP_NORESERVE, rubbish_file(length), 0);
}

}  // extern "C"
