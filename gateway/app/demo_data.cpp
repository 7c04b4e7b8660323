#include "gateway/app/demo_data.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <system_error>
#include <vector>

namespace nbdgw::app {

namespace {

constexpr std::size_t kChunk = 1 << 20;  // bytes at a time

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

[[noreturn]] void give_up(const std::string& path) {
  throw std::system_error(errno, std::generic_category(), path);
}

File open_file(const std::string& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode));
  if (!file) give_up(path);
  return file;
}

/// The next bytes of the file: fewer than there is room for only at its end.
std::size_t read_chunk(const File& file, const std::string& path, std::vector<char>& chunk) {
  const std::size_t n = std::fread(chunk.data(), 1, chunk.size(), file.get());
  if (n < chunk.size() && std::ferror(file.get()) != 0) give_up(path);
  return n;
}

}  // namespace

std::string temporary_place() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/var/tmp";
}

TemporaryFolder::TemporaryFolder() {
  path_ = temporary_place() + "/nbdgw-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) give_up(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;  // what cannot be removed is left to whoever cleans the folder for temporary files
  std::filesystem::remove_all(path_, ignored);
}

void write_random_file(const std::string& path, std::uint64_t size, ProgressLine& progress) {
  std::random_device seed;
  std::mt19937_64 random((std::uint64_t{seed()} << 32) | seed());
  std::vector<std::uint64_t> chunk(kChunk / sizeof(std::uint64_t));
  const File file = open_file(path, "wbx");
  for (std::uint64_t done = 0; done < size;) {
    std::generate(chunk.begin(), chunk.end(), [&random] { return random(); });
    const std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(kChunk, size - done));
    if (std::fwrite(chunk.data(), 1, length, file.get()) != length) give_up(path);
    done += length;
    progress.update(done, size);
  }
  if (std::fflush(file.get()) != 0) give_up(path);
}

std::optional<std::uint64_t> first_difference(const std::string& left, const std::string& right) {
  const File left_file = open_file(left, "rb");
  const File right_file = open_file(right, "rb");
  std::vector<char> left_chunk(kChunk), right_chunk(kChunk);
  for (std::uint64_t offset = 0;; offset += kChunk) {
    const std::size_t left_length = read_chunk(left_file, left, left_chunk);
    const std::size_t right_length = read_chunk(right_file, right, right_chunk);
    const std::size_t common = std::min(left_length, right_length);
    const auto end = left_chunk.begin() + static_cast<std::ptrdiff_t>(common);
    const auto [found, ignored] = std::mismatch(left_chunk.begin(), end, right_chunk.begin());
    if (found != end) return offset + static_cast<std::uint64_t>(found - left_chunk.begin());
    if (left_length != right_length) return offset + common;
    if (common < kChunk) return std::nullopt;
  }
}

}  // namespace nbdgw::app
