#include "proto/bytes/iovecs.hpp"

#include <algorithm>
#include <cstring>

#include "proto/assert.hpp"

namespace nbdgw::proto {
namespace {

/// Walks the pieces that cover [offset, offset + length); `visit(piece)` returns false to stop.
template <typename Visit>
void for_range(std::span<const iovec> list, std::size_t offset, std::size_t length, Visit visit) {
  for (const iovec& entry : list) {
    if (length == 0) return;
    if (offset >= entry.iov_len) {
      offset -= entry.iov_len;
      continue;
    }
    const std::size_t n = std::min(length, entry.iov_len - offset);
    if (!visit(iovec{static_cast<std::byte*>(entry.iov_base) + offset, n})) return;
    offset = 0;
    length -= n;
  }
  NBDGW_ASSERT(length == 0, "range inside the scatter list");
}

}  // namespace

std::size_t total_length(std::span<const iovec> list) noexcept {
  std::size_t sum = 0;
  for (const iovec& entry : list) sum += entry.iov_len;
  return sum;
}

std::size_t slice(std::span<const iovec> list, std::size_t offset, std::size_t length, std::span<iovec> out,
                  std::size_t* covered) noexcept {
  std::size_t filled = 0;
  std::size_t bytes = 0;
  for_range(list, offset, length, [&](iovec piece) {
    if (filled == out.size()) return false;
    out[filled++] = piece;
    bytes += piece.iov_len;
    return true;
  });
  if (covered != nullptr) *covered = bytes;
  return filled;
}

void copy_in(std::span<const iovec> list, std::size_t offset, const void* from, std::size_t length) noexcept {
  const auto* source = static_cast<const std::byte*>(from);
  for_range(list, offset, length, [&](iovec piece) {
    std::memcpy(piece.iov_base, source, piece.iov_len);
    source += piece.iov_len;
    return true;
  });
}

void copy_out(std::span<const iovec> list, std::size_t offset, void* to, std::size_t length) noexcept {
  auto* target = static_cast<std::byte*>(to);
  for_range(list, offset, length, [&](iovec piece) {
    std::memcpy(target, piece.iov_base, piece.iov_len);
    target += piece.iov_len;
    return true;
  });
}

}  // namespace nbdgw::proto
