#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace nbdgw::proto {

/// Sum of the lengths of a scatter list.
std::size_t total_length(std::span<const iovec> list) noexcept;

/// Appends to `out` the pieces of `list` that cover [offset, offset + length), and returns how many entries of `out`
/// were filled. Stops early, at a whole entry, when `out` is full: `covered` (may be null) tells how many bytes the
/// entries cover. The range must lie inside the list (asserted: the caller has checked what a peer sent).
std::size_t slice(std::span<const iovec> list, std::size_t offset, std::size_t length, std::span<iovec> out,
                  std::size_t* covered = nullptr) noexcept;

/// Copies `length` bytes from flat memory into the scatter list, from `offset` on.
void copy_in(std::span<const iovec> list, std::size_t offset, const void* from, std::size_t length) noexcept;

/// Copies `length` bytes out of the scatter list, from `offset` on, into flat memory.
void copy_out(std::span<const iovec> list, std::size_t offset, void* to, std::size_t length) noexcept;

}  // namespace nbdgw::proto
