#include "gateway/app/demo_room.hpp"

#include <fmt/core.h>
#include <linux/magic.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string_view>
#include <system_error>

#include "config/units.hpp"
#include "gateway/app/ctl_text.hpp"

namespace nbdgw::app {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1ULL << 20;
/// More than any machine has. Larger sizes count as this, so that no sum overflows.
constexpr std::uint64_t kBoundless = 1ULL << 60;
/// What grows with the size and is no payload: page tables of the disk in memory, block maps of the files.
constexpr std::uint64_t kOverhead = 32;  // one part of so many
/// Beside the disk itself: the payload budget of the gateway, what target and nbdcopy hold in flight, and something
/// for everybody else on the machine.
constexpr std::uint64_t kMemoryBesides = 256 * kMiB;
/// Left on the disk for everybody else who writes there.
constexpr std::uint64_t kDiskBesides = 64 * kMiB;

std::uint64_t with_overhead(std::uint64_t bytes) {
  return bytes + bytes / kOverhead;
}

/// The file with random data, and the one with what came back.
std::uint64_t disk_needed(std::uint64_t size) {
  return with_overhead(2 * std::min(size, kBoundless)) + kDiskBesides;
}

/// The disk of the target; with what is copied, where that is kept in memory.
std::uint64_t memory_needed(std::uint64_t size, const DemoRoom& room) {
  return with_overhead(std::min(size, kBoundless)) + kMemoryBesides + (room.folder_in_memory ? disk_needed(size) : 0);
}

bool is_short_of_disk(std::uint64_t size, const DemoRoom& room) {
  return room.disk && disk_needed(size) > *room.disk;
}

bool is_short_of_memory(std::uint64_t size, const DemoRoom& room) {
  return room.memory && memory_needed(size, room) > *room.memory;
}

/// The largest size that there is room for, in whole MiB; 0: for none.
std::uint64_t largest_size(const DemoRoom& room) {
  std::uint64_t fits = 0, not_any_more = kBoundless / kMiB;
  while (fits + 1 < not_any_more) {
    const std::uint64_t middle = fits + (not_any_more - fits) / 2;
    const std::uint64_t size = middle * kMiB;
    (is_short_of_disk(size, room) || is_short_of_memory(size, room) ? not_any_more : fits) = middle;
  }
  return fits * kMiB;
}

std::string shown(std::uint64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

std::string advice(std::uint64_t size, const DemoRoom& room) {
  const std::uint64_t largest = largest_size(room);
  std::string text = largest > 0 ? fmt::format("There is room for --size {}.", config::format_size(largest))
                                 : "Not even --size 1MiB has room; free some.";
  if (is_short_of_disk(size, room) || room.folder_in_memory)
    text += " What is copied can be kept elsewhere: TMPDIR=FOLDER nbdgw demo ...";
  return text;
}

std::optional<std::uint64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::string text;
  if (!(in >> text)) return std::nullopt;
  return config::parse_integer(text);  // "max" is none
}

/// The number behind the first of these words in a file of "name number" lines; 0: it is not there.
std::uint64_t number_behind(const fs::path& file, std::string_view name) {
  std::ifstream in(file);
  for (std::string word; in >> word;) {
    std::string number;
    if (word == name && in >> number) return config::parse_integer(number).value_or(0);
  }
  return 0;
}

/// The cgroup (v2) of this process as a path below its mount: "/system.slice/x"; empty: none.
std::string own_cgroup(const fs::path& root) {
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("0::/")) return line.substr(3);
  return {};
}

void bound(DemoRoom& room, std::uint64_t memory, const std::string& of) {
  if (room.memory && *room.memory <= memory) return;
  room.memory = memory;
  room.memory_of = of;
}

/// A group's limit counts for all groups below it. Like MemAvailable, what is left of it includes the pages of files,
/// which the kernel drops when memory is wanted; swap is not counted on.
void look_at_cgroups(DemoRoom& room, const fs::path& root) {
  const fs::path mount = root / "sys/fs/cgroup";
  fs::path below = fs::path(own_cgroup(root)).relative_path();
  for (;; below = below.parent_path()) {
    const fs::path group = below.empty() ? mount : mount / below;
    for (const char* name : {"memory.max", "memory.high"}) {
      const auto limit = number_in(group / name);
      const auto current = number_in(group / "memory.current");
      if (!limit || !current) continue;
      const fs::path stat = group / "memory.stat";
      const std::uint64_t files = number_behind(stat, "inactive_file") + number_behind(stat, "active_file");
      const std::uint64_t used = *current - std::min(*current, files);
      bound(room, *limit - std::min(*limit, used), fmt::format("within {}", (group / name).string()));
    }
    if (below.empty()) return;
  }
}

}  // namespace

DemoRoom look_for_room(const std::string& folder, const fs::path& root) {
  DemoRoom room;
  room.folder = folder;
  struct statfs disk {};
  if (::statfs(folder.c_str(), &disk) != 0)
    throw std::system_error(errno, std::generic_category(), folder + ", the folder for what is copied (TMPDIR)");
  room.folder_in_memory = disk.f_type == TMPFS_MAGIC || disk.f_type == RAMFS_MAGIC;
  // Some filesystems know no number of blocks.
  if (disk.f_blocks > 0) room.disk = std::uint64_t{disk.f_bavail} * static_cast<std::uint64_t>(disk.f_frsize);
  if (const std::uint64_t kib = number_behind(root / "proc/meminfo", "MemAvailable:"); kib > 0)
    bound(room, kib * 1024, "on this machine");
  look_at_cgroups(room, root);
  return room;
}

std::string missing_room(std::uint64_t size, const DemoRoom& room) {
  const bool memory = is_short_of_memory(size, room), disk = is_short_of_disk(size, room);
  if (!memory && !disk) return {};
  std::string text =
      fmt::format("--size {} needs more than there is; nothing was started\n", config::format_size(size));
  if (memory) {
    text += fmt::format("  memory: {} for the target's disk{} and buffers, but {} available {}\n",
                        shown(memory_needed(size, room)),
                        room.folder_in_memory ? ", what is copied (" + room.folder + " is in memory)" : "",
                        shown(*room.memory), room.memory_of);
  }
  if (disk) {
    text += fmt::format("  disk: {} for what is copied in and out, but {} available in {}\n",
                        shown(disk_needed(size)), shown(*room.disk), room.folder);
  }
  return text + advice(size, room);
}

}  // namespace nbdgw::app
