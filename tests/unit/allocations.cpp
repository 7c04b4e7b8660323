// Replaces the global operator new, to count, and to keep large blocks for the next who wants one of that size: tests
// make and end worlds by the ten thousand, each with a pool and a disk, and AddressSanitizer maps every large block
// anew, which on some virtual machines takes most of a test's time.
#include "tests/unit/allocations.hpp"

#include <malloc.h>
#include <sanitizer/asan_interface.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace {

constexpr std::size_t kLarge = std::size_t{256} * 1024;

/// Large blocks that nobody has. Under AddressSanitizer they are poisoned: who still uses one is found.
class LargeBlocks {
 public:
  /// Nullptr: there is none of that size. What is in it is somebody else's, and nothing that a test may count on.
  void* take(std::size_t size) noexcept {
    const std::lock_guard lock(mutex_);
    for (Block& block : blocks_) {
      // What malloc made more of it than was asked for stays poisoned.
      if (block.size < size || block.size - size >= kSlack) continue;
      block.size = 0;
      ASAN_UNPOISON_MEMORY_REGION(block.memory, size);
      std::memset(block.memory, kStale, kStaleBytes);
      return block.memory;
    }
    return nullptr;
  }

  /// What was kept for longest goes for it.
  void keep(void* memory, std::size_t size) noexcept {
    ASAN_POISON_MEMORY_REGION(memory, size);
    const std::lock_guard lock(mutex_);
    Block& block = blocks_[next_++ % blocks_.size()];
    if (block.size != 0) free_one(block);
    block = {memory, size};
  }

 private:
  static constexpr std::size_t kSlack = 4096;
  static constexpr int kStale = 0xa5;
  static constexpr std::size_t kStaleBytes = 4096;  // as many as AddressSanitizer fills of a new block

  struct Block {
    void* memory = nullptr;
    std::size_t size = 0;  // 0: none
  };

  static void free_one(Block block) noexcept {
    ASAN_UNPOISON_MEMORY_REGION(block.memory, block.size);
    std::free(block.memory);
  }

  std::mutex mutex_;
  std::array<Block, 32> blocks_{};
  std::size_t next_ = 0;
};

// Never destroyed: what is static may free after it.
LargeBlocks& large_blocks() noexcept {
  alignas(LargeBlocks) static std::byte room[sizeof(LargeBlocks)];
  static LargeBlocks* const blocks = new (room) LargeBlocks;
  return *blocks;
}

/// Null if there is no memory.
void* counted(std::size_t size, std::size_t alignment) noexcept {
  ++nbdgw::test::Allocations::total;
  if (nbdgw::test::Allocations::depth > 0) ++nbdgw::test::Allocations::in_engine;
  if (size == 0) size = 1;
  if (alignment <= alignof(std::max_align_t)) {
    void* const kept = size >= kLarge ? large_blocks().take(size) : nullptr;
    return kept != nullptr ? kept : std::malloc(size);
  }
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* counted_or_throw(std::size_t size, std::size_t alignment = alignof(std::max_align_t)) {
  void* const memory = counted(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void give_back(void* memory) noexcept {
  // Which new it came from does not matter: a block is as good as it is long.
  const std::size_t size = memory != nullptr ? malloc_usable_size(memory) : 0;
  if (size < kLarge) {
    std::free(memory);
  } else {
    large_blocks().keep(memory, size);
  }
}

}  // namespace

// Every form of new, for AddressSanitizer brings its own of those that are not here; free() does not take its memory.
void* operator new(std::size_t size) {
  return counted_or_throw(size);
}
void* operator new[](std::size_t size) {
  return counted_or_throw(size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return counted_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return counted(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  give_back(memory);
}
void operator delete[](void* memory) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  give_back(memory);
}
