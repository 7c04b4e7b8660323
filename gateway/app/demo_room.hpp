#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace nbdgw::app {

/// What there is for a demo, in bytes. nullopt: nobody can tell, and it is not asked about.
struct DemoRoom {
  std::string folder;             // of what is copied in and out
  bool folder_in_memory = false;  // what is in it takes memory, too
  std::optional<std::uint64_t> disk;
  std::optional<std::uint64_t> memory;
  std::string memory_of;  // what bounds it, as in "available on this machine"
};

/// Looks around for a demo that keeps what it copies in `folder`. The kernel's files are looked for below `root`.
/// Throws std::system_error if there is no such folder.
DemoRoom look_for_room(const std::string& folder, const std::filesystem::path& root = "/");

/// What a demo of `size` bytes needs beyond what there is, and what can be done about it, in lines; empty: nothing.
std::string missing_room(std::uint64_t size, const DemoRoom& room);

}  // namespace nbdgw::app
