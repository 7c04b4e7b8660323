#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nbdgw::proto {

/// Payload memory of one shard: an arena handed in from outside, cut into 64 KiB blocks, some of them cut again into
/// 4 KiB blocks for small requests. Blocks are given out as scatter lists, so nothing fragments, and the arena is the
/// whole budget: the pool never grows. The block freed last is given out first, for it is still in the cache.
class BufferPool {
 public:
  static constexpr std::size_t kSmallBlock = 4096;
  static constexpr std::size_t kLargeBlock = 64 * 1024;
  /// Remainders up to this size are made of small blocks.
  static constexpr std::size_t kSmallLimit = 4 * kSmallBlock;

  /// Entries that allocate() fills for `length` bytes, at most.
  static constexpr std::size_t blocks_for(std::size_t length) noexcept {
    return length / kLargeBlock + kSmallLimit / kSmallBlock;
  }

  /// Bytes of whole blocks that allocate() takes for `length` bytes.
  static constexpr std::size_t cost(std::size_t length) noexcept {
    const std::size_t rest = length % kLargeBlock;
    const std::size_t last = rest > kSmallLimit ? kLargeBlock : (rest + kSmallBlock - 1) / kSmallBlock * kSmallBlock;
    return length - rest + last;
  }

  /// The arena must outlive the pool; what does not fill a large block at its end is left unused.
  explicit BufferPool(std::span<std::byte> arena);

  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// Takes memory for `length` > 0 bytes: fills entries of `out` whose lengths add up to exactly `length`. All or
  /// nothing: returns the number of entries, or 0 when there is not enough left (or `out` has too few entries).
  std::size_t allocate(std::size_t length, std::span<iovec> out) noexcept;

  /// Gives back what one allocate() call returned: the same entries, or entries that start at the same addresses.
  void release(std::span<const iovec> blocks) noexcept;

  /// Bytes of whole blocks given out now.
  std::size_t used() const noexcept { return used_; }
  std::size_t capacity() const noexcept { return large_.size() * kLargeBlock; }

 private:
  static constexpr std::uint32_t kNone = ~0U;
  static constexpr std::uint16_t kAllFree = 0xffff;

  /// A large block: whole (small_free == 0 and split == false) or cut into 16 small ones.
  struct Large {
    std::uint32_t next = kNone;
    std::uint32_t previous = kNone;  // only in the list of blocks with small ones left
    std::uint16_t small_free = 0;    // a bit for each free small block
    bool split = false;
    bool taken = false;
  };

  std::byte* take_large() noexcept;
  std::byte* take_small() noexcept;
  void give_back(std::byte* block) noexcept;
  void link_partial(std::uint32_t index) noexcept;
  void unlink_partial(std::uint32_t index) noexcept;

  std::byte* base_ = nullptr;
  std::vector<Large> large_;
  std::uint32_t free_large_ = kNone;
  std::uint32_t partial_ = kNone;
  std::size_t used_ = 0;
};

}  // namespace nbdgw::proto
