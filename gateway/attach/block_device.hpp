#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nbdgw::attach {

/// /dev/nbdN as sysfs shows it (Documentation/ABI/testing/sysfs-block of the kernel). What cannot be read is told as
/// not being there.
class BlockDevice {
 public:
  /// `sys`: where sysfs is mounted; tests have their own.
  explicit BlockDevice(std::uint32_t index, std::filesystem::path sys = "/sys");

  /// "nbd0" or "/dev/nbd0".
  static std::optional<std::uint32_t> parse(std::string_view name) noexcept;
  /// All that there are, in order.
  static std::vector<std::uint32_t> all(const std::filesystem::path& sys = "/sys");

  std::uint32_t index() const noexcept { return index_; }
  std::string name() const { return "nbd" + std::to_string(index_); }
  std::string path() const { return "/dev/" + name(); }

  bool exists() const;
  /// A client is attached, dead or alive.
  bool in_use() const;
  std::uint64_t size() const;      // bytes
  std::string identity() const;    // as given to the kernel at the attachment; empty: none
  std::string find_mount() const;  // a folder that it is mounted on; empty: none

  /// How long a request is left alone before the kernel asks whether its connection is still the one.
  bool set_io_timeout_ms(std::uint64_t ms) const { return write("queue/io_timeout", ms); }
  /// Largest request, and how much is read ahead.
  bool set_max_sectors_kb(std::uint64_t kb) const { return write("queue/max_sectors_kb", kb); }
  bool set_read_ahead_kb(std::uint64_t kb) const { return write("queue/read_ahead_kb", kb); }

 private:
  std::string read(const char* name) const;
  bool write(const char* name, std::uint64_t value) const;

  std::uint32_t index_;
  std::filesystem::path folder_;
};

}  // namespace nbdgw::attach
