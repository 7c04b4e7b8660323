#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/sim/byte_buffer.hpp"

namespace nbdgw::sim {

// How payload is moved.
//
// Gigabytes of it go through the world, and all that anybody wants to know of them is what the oracle has written
// into each cell of 512 bytes: its first 16 bytes tell the write, the disk, and the place. So in most worlds only
// these are kept of a cell, wherever the world (pipes, targets, disks, clients) holds payload; each of them is still
// moved byte by byte, however odd the places are where a piece begins and ends. What is payload is known at one
// place: bytes that the gateway sends from its payload memory, where cells begin at multiples of 512 (rubbish.cpp).
// Of what comes in, the 496 other bytes of a cell are not written to that memory; whoever would look at them there
// finds rubbish. All other bytes, and in a part of the worlds those of payload as well (see below), are kept whole.
//
// This finds all that is misplaced, by a multiple of 512 bytes (another cell's stamp) or by less (no stamp at all),
// stale, torn, of another disk or somebody else, or was never written. What it cannot see is a byte that is wrong in
// the rest of a cell, though the first 16 bytes are right. Hence all bytes are kept in one world of sixty-four, and
// where the gateway looks at payload itself (data digests).

inline constexpr std::size_t kCellBytes = 512;
inline constexpr std::size_t kStampBytes = 16;

/// How many bytes of a cell of payload are kept in this world.
std::size_t kept_of_payload() noexcept;
void keep_of_payload(std::size_t bytes) noexcept;

/// How many bytes are kept of the first `n` of a row of cells.
inline std::size_t kept_of(std::size_t n, std::size_t kept) noexcept {
  const std::size_t rest = n % kCellBytes;
  return n / kCellBytes * kept + (rest < kept ? rest : kept);
}

/// A part of a row of bytes. `base` is where the cell is kept in which it begins.
template <typename Byte>
struct PartOfRow {
  Byte* base = nullptr;
  std::size_t begin = 0;  // from the beginning of that cell
  std::size_t end = 0;    // the same
  std::size_t kept = kCellBytes;

  std::size_t size() const noexcept { return end - begin; }
  bool empty() const noexcept { return end == begin; }
  /// All bytes are there.
  bool plain() const noexcept { return kept == kCellBytes; }
  /// Of a plain one.
  Byte* data() const noexcept { return base + begin; }
  PartOfRow first(std::size_t n) const noexcept { return {base, begin, begin + n, kept}; }
  PartOfRow subspan(std::size_t n) const noexcept {
    const std::size_t cells = (begin + n) / kCellBytes;
    return {base + cells * kept, begin + n - cells * kCellBytes, end - cells * kCellBytes, kept};
  }
  PartOfRow subspan(std::size_t from, std::size_t n) const noexcept { return subspan(from).first(n); }
};

/// Where bytes come from, and where they go.
struct Piece : PartOfRow<const std::uint8_t> {
  Piece() = default;
  Piece(const PartOfRow& part) noexcept : PartOfRow(part) {}
  Piece(const std::uint8_t* from, std::size_t first, std::size_t last, std::size_t kept_bytes) noexcept
      : PartOfRow{from, first, last, kept_bytes} {}
  /// Plain bytes.
  Piece(Bytes bytes) noexcept : PartOfRow{bytes.data(), 0, bytes.size(), kCellBytes} {}
  /// Of a plain one.
  Bytes bytes() const noexcept { return {data(), size()}; }
};
using Place = PartOfRow<std::uint8_t>;

/// As many bytes as the piece has. What is to be kept there, and is not known of the piece, becomes rubbish; in a
/// plain place it is left as it is.
void move(const Place& to, const Piece& from) noexcept;
/// Fills what is kept of it with zeroes.
void clear(const Place& place) noexcept;
/// To plain bytes. What is not known is rubbish.
void append(ByteBuffer& to, const Piece& from);

/// A row of bytes that grows.
class Row {
 public:
  Row() = default;
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  Row(Row&&) = default;
  Row& operator=(Row&&) = default;

  std::size_t size() const noexcept { return end_ - begin_; }
  bool empty() const noexcept { return end_ == begin_; }
  std::size_t kept() const noexcept { return kept_; }
  /// Where in a cell the next byte would be.
  std::size_t phase() const noexcept { return end_ % kCellBytes; }
  Piece view() const noexcept { return {store_.data(), begin_, end_, kept_}; }
  Place place() noexcept { return {store_.data(), begin_, end_, kept_}; }
  /// What is kept, cell by cell.
  Bytes kept_bytes() const noexcept { return store_.view(); }
  std::span<std::uint8_t> kept_bytes() noexcept { return {store_.data(), store_.size()}; }
  /// Memory that it takes.
  std::size_t room() const noexcept { return store_.size(); }
  /// Empty; the first byte of the next ones is that one of a cell.
  void restart(std::size_t kept, std::size_t phase = 0) noexcept {
    store_.clear();
    kept_ = kept;
    begin_ = end_ = phase;
  }
  /// `n` more at the end, to be written to.
  Place grow(std::size_t n) {
    const std::size_t from = end_;
    end_ += n;
    const std::size_t wanted = kept_ == kCellBytes ? end_ : (end_ + kCellBytes - 1) / kCellBytes * kept_;
    if (wanted > store_.size()) store_.grow(wanted - store_.size());
    return Place{store_.data(), 0, end_, kept_}.subspan(from);
  }
  void append(const Piece& piece) { move(grow(piece.size()), piece); }
  void shorten(std::size_t size) noexcept { end_ = begin_ + size; }

 private:
  ByteBuffer store_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t kept_ = kCellBytes;
};

/// Rows of plain bytes and of payload behind each other, to be sent at once.
class Rows {
 public:
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  void clear() noexcept;
  void append(const Piece& piece);
  void append_zeroes(std::size_t n);
  /// `n` plain bytes, to be written to.
  std::uint8_t* grow(std::size_t n);
  /// The first `size` bytes, until anything is added.
  std::span<const Piece> first(std::size_t size);

 private:
  Row& last(std::size_t kept, std::size_t phase);

  std::vector<Row> rows_;
  std::size_t used_ = 0;  // rows
  std::size_t size_ = 0;
  std::vector<Piece> pieces_;
};

}  // namespace nbdgw::sim
