#pragma once

#include <algorithm>
#include <cstdint>

namespace nbdgw::bridge {

/// Blocks of a LUN, [first, end).
struct BlockRange {
  std::uint64_t first = 0;
  std::uint64_t end = 0;

  constexpr bool empty() const noexcept { return first >= end; }
  constexpr std::uint64_t count() const noexcept { return empty() ? 0 : end - first; }
};

/// All blocks that [offset, offset + length) touches. `block` is the block length in bytes, a power of two; the range
/// does not wrap (the protocol engine has checked it against the export).
constexpr BlockRange widen(std::uint64_t offset, std::uint64_t length, std::uint32_t block) noexcept {
  return {offset / block, (offset + length + block - 1) / block};
}

/// The whole blocks inside [offset, offset + length); may be empty.
constexpr BlockRange narrow(std::uint64_t offset, std::uint64_t length, std::uint32_t block) noexcept {
  const std::uint64_t first = (offset + block - 1) / block;
  return {first, std::max(first, (offset + length) / block)};
}

/// Where the part of a request that begins at `offset` ends: such that the blocks it touches are at most
/// `limit` bytes, and that the next part begins on a block. `limit` is a multiple of `block`, offset < end.
constexpr std::uint64_t part_end(std::uint64_t offset, std::uint64_t end, std::uint32_t block,
                                 std::uint32_t limit) noexcept {
  const std::uint64_t border = offset - offset % block + limit;
  return std::min(end, border);
}

/// How many parts part_end() cuts [offset, end) into.
constexpr std::uint64_t part_count(std::uint64_t offset, std::uint64_t end, std::uint32_t block,
                                   std::uint32_t limit) noexcept {
  return (end - (offset - offset % block) + limit - 1) / limit;
}

}  // namespace nbdgw::bridge
