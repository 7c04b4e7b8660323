// The payload memory of the gateway is full of rubbish at first, as if others had used it: what it hands out without
// having written it is seen then. (The linker sends its mmap() here: syscalls.cpp.)
#include "tests/sim/rubbish.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/sim/piece.hpp"

namespace nbdgw::sim {
namespace {

constexpr std::size_t kArena = 1 << 20;  // nothing smaller is one
constexpr std::size_t kLeastRoom = 64 << 20;
constexpr unsigned char kRubbish = 0xa5;

/// Memory for an arena. It is used again, for that of a later gateway: the system would have to clear it all.
struct Arena {
  std::uint8_t* memory;
  std::size_t room;
  std::size_t used = 0;    // up to there somebody has read or written something since it was filled,
  std::size_t worn = 0;    // since all of it was
  std::size_t length = 0;  // that the gateway has; 0: none has it
};

std::vector<Arena>& arenas() {
  static std::vector<Arena> all;
  return all;
}

/// As if it were new. Memory is given out from its beginning, the block that was freed last first; the blocks behind
/// those that were moved may have been written to as well, by the gateway alone: by no more than a request has.
void fill_with_rubbish(Arena& arena) noexcept {
  if (arena.used > 0) arena.used = std::min(arena.room, arena.used + kArena);
  arena.worn = std::max(arena.worn, arena.used);
  if (kept_of_payload() == kCellBytes) {
    std::memset(arena.memory, kRubbish, std::exchange(arena.worn, 0));
  } else {
    for (std::size_t at = 0; at < arena.used; at += kCellBytes) std::memset(arena.memory + at, kRubbish, kStampBytes);
  }
  arena.used = 0;
}

}  // namespace

bool use_memory(const void* at, std::size_t bytes) noexcept {
  const auto* const first = static_cast<const std::uint8_t*>(at);
  for (Arena& arena : arenas()) {
    if (first < arena.memory || first >= arena.memory + arena.length) continue;
    arena.used = std::max(arena.used, static_cast<std::size_t>(first - arena.memory) + bytes);
    return true;
  }
  return false;
}

}  // namespace nbdgw::sim

extern "C" {

void* __real_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* address, size_t length);

void* __wrap_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  using namespace nbdgw::sim;
  if ((flags & MAP_ANONYMOUS) == 0 || length < kArena) {
    return __real_mmap(address, length, protection, flags, fd, offset);
  }
  const auto free = std::ranges::find_if(
      arenas(), [length](const Arena& arena) { return arena.length == 0 && arena.room >= length; });
  if (free != arenas().end()) {
    fill_with_rubbish(*free);
    free->length = length;
    return free->memory;
  }
  const std::size_t room = std::max(length, kLeastRoom);
  void* const memory = __real_mmap(nullptr, room, protection, flags, -1, 0);
  if (memory == MAP_FAILED) return memory;
  ::madvise(memory, room, MADV_HUGEPAGE);
  std::memset(memory, kRubbish, room);
  arenas().push_back({.memory = static_cast<std::uint8_t*>(memory), .room = room, .length = length});
  return memory;
}

int __wrap_munmap(void* address, size_t length) {
  using namespace nbdgw::sim;
  const auto found = std::ranges::find(arenas(), static_cast<std::uint8_t*>(address), &Arena::memory);
  if (found == arenas().end()) return __real_munmap(address, length);
  found->length = 0;
  return 0;
}

}  // extern "C"
