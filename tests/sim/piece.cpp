#include "tests/sim/piece.hpp"

#include <algorithm>

namespace nbdgw::sim {
namespace {

std::size_t kept_bytes = kCellBytes;
constexpr std::uint8_t kUnknown = 0xee;

/// The same bytes are kept of both: they are in one piece.
void move_same(const Place& to, const Piece& from) noexcept {
  const std::size_t first = kept_of(from.begin, from.kept);
  const std::size_t bytes = kept_of(from.end, from.kept) - first;
  std::memcpy(to.base + first, from.base + first, bytes);
}

/// Calls for each part of a row that is kept: its place in the row, its place in memory, its length.
template <typename Part, typename Action>
void for_each_kept(const Part& part, Action action) noexcept {
  std::size_t at = part.begin;
  auto* memory = part.base;
  std::size_t cell = 0;
  while (at < part.end) {
    const std::size_t in_cell = at - cell;
    if (in_cell < part.kept) {
      const std::size_t n = std::min(part.kept - in_cell, part.end - at);
      action(at - part.begin, memory + in_cell, n);
    }
    cell += kCellBytes;
    at = cell;
    memory += part.kept;
  }
}

/// Whole stamps are nearly all there is.
void copy_stamp(std::uint8_t* to, const std::uint8_t* from, std::size_t n) noexcept {
  if (n == kStampBytes) {
    std::memcpy(to, from, kStampBytes);
  } else {
    std::memcpy(to, from, n);
  }
}

/// What the piece knows of `n` bytes from there on.
void copy_known(std::uint8_t* to, const Piece& from, std::size_t at, std::size_t n) noexcept {
  std::memset(to, kUnknown, n);
  for_each_kept(from.subspan(at, n), [to](std::size_t place, const std::uint8_t* memory, std::size_t length) {
    std::memcpy(to + place, memory, length);
  });
}

}  // namespace

std::size_t kept_of_payload() noexcept {
  return kept_bytes;
}

void keep_of_payload(std::size_t bytes) noexcept {
  kept_bytes = bytes;
}

void move(const Place& to, const Piece& from) noexcept {
  if (from.empty()) return;
  if (from.plain() && to.plain()) {
    std::memcpy(to.data(), from.data(), from.size());
  } else if (from.kept == to.kept && from.begin == to.begin) {
    move_same(to, from);
  } else if (from.plain()) {
    for_each_kept(to.first(from.size()),
                  [bytes = from.data()](std::size_t place, std::uint8_t* memory, std::size_t n) {
                    copy_stamp(memory, bytes + place, n);
                  });
  } else if (to.plain()) {
    for_each_kept(from, [bytes = to.data()](std::size_t place, const std::uint8_t* memory, std::size_t n) {
      copy_stamp(bytes + place, memory, n);
    });
  } else {
    for_each_kept(to.first(from.size()), [&from](std::size_t place, std::uint8_t* memory, std::size_t n) {
      copy_known(memory, from, place, n);
    });
  }
}

void clear(const Place& place) noexcept {
  const std::size_t first = kept_of(place.begin, place.kept);
  std::memset(place.base + first, 0, kept_of(place.end, place.kept) - first);
}

void append(ByteBuffer& to, const Piece& from) {
  if (from.empty()) return;
  std::uint8_t* const bytes = to.grow(from.size());
  if (from.plain()) {
    std::memcpy(bytes, from.data(), from.size());
  } else {
    copy_known(bytes, from, 0, from.size());
  }
}

// ---- Rows ----

void Rows::clear() noexcept {
  used_ = 0;
  size_ = 0;
}

/// One to which such bytes can be added.
Row& Rows::last(std::size_t kept, std::size_t phase) {
  if (used_ > 0) {
    Row& row = rows_[used_ - 1];
    if (row.kept() == kept && (kept == kCellBytes || row.phase() == phase)) return row;
  }
  if (used_ == rows_.size()) rows_.emplace_back();
  Row& row = rows_[used_++];
  row.restart(kept, kept == kCellBytes ? 0 : phase);
  return row;
}

void Rows::append(const Piece& piece) {
  if (piece.empty()) return;
  last(piece.kept, piece.begin % kCellBytes).append(piece);
  size_ += piece.size();
}

std::uint8_t* Rows::grow(std::size_t n) {
  size_ += n;
  return last(kCellBytes, 0).grow(n).data();
}

void Rows::append_zeroes(std::size_t n) {
  if (n > 0) std::memset(grow(n), 0, n);
}

std::span<const Piece> Rows::first(std::size_t size) {
  pieces_.clear();
  for (std::size_t i = 0; i < used_ && size > 0; ++i) {
    const Piece whole = rows_[i].view();
    pieces_.emplace_back(whole.first(std::min(size, whole.size())));
    size -= pieces_.back().size();
  }
  return pieces_;
}

}  // namespace nbdgw::sim
