#include "gateway/attach/block_device.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

namespace nbdgw::attach {
namespace {

constexpr std::uint64_t kSector = 512;  // of "size", whatever the device's blocks are

std::optional<std::uint64_t> number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

BlockDevice::BlockDevice(std::uint32_t index, std::filesystem::path sys)
    : index_(index), folder_(std::move(sys) / "block" / name()) {}

std::optional<std::uint32_t> BlockDevice::parse(std::string_view text) noexcept {
  constexpr std::string_view kFolder = "/dev/", kName = "nbd";
  if (text.starts_with(kFolder)) text.remove_prefix(kFolder.size());
  if (!text.starts_with(kName)) return std::nullopt;
  const auto index = number(text.substr(kName.size()));
  constexpr std::uint64_t kMinorBits = 20;
  if (!index || *index >= (1ULL << kMinorBits)) return std::nullopt;
  return static_cast<std::uint32_t>(*index);
}

std::vector<std::uint32_t> BlockDevice::all(const std::filesystem::path& sys) {
  std::vector<std::uint32_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(sys / "block", error)) {
    if (const auto index = parse(entry.path().filename().string())) found.push_back(*index);
  }
  std::ranges::sort(found);
  return found;
}

bool BlockDevice::exists() const {
  std::error_code error;
  return std::filesystem::exists(folder_, error);
}

bool BlockDevice::in_use() const {
  std::error_code error;
  return std::filesystem::exists(folder_ / "pid", error) || size() != 0;
}

std::uint64_t BlockDevice::size() const {
  return number(read("size")).value_or(0) * kSector;
}

std::string BlockDevice::identity() const {
  return read("backend");
}

std::string BlockDevice::find_mount() const {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string source, folder;
    if (words >> source >> folder && source == path()) return folder;
  }
  return "";
}

std::string BlockDevice::read(const char* name) const {
  std::ifstream file(folder_ / name);
  std::string line;
  std::getline(file, line);
  return line;
}

bool BlockDevice::write(const char* name, std::uint64_t value) const {
  std::ofstream file(folder_ / name);
  file << value << std::flush;
  return file.good();
}

}  // namespace nbdgw::attach
