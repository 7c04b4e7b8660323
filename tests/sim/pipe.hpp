#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>

#include "tests/sim/piece.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// How the directions of a connection behave.
struct LinkHabits {
  Micros delay = 20;            // from one end to the other
  Micros jitter = 0;            // more, up to so much; nothing overtakes within a connection
  Micros uneven = 0;            // more, up to so much, drawn for each connection and direction: others overtake it
  Micros pace = 0;              // of 64 KiB, in one direction; 0: as fast as they come
  std::size_t piece = 1 << 20;  // no more bytes than this arrive together: pieces break anywhere
  bool unread_stays =
      false;  // what has arrived and is not read yet is read, even if a reset has come meanwhile (Linux)
  std::size_t room = 256 << 10;  // bytes on their way and unread, before who sends has to wait
};

/// One direction of a connection: bytes are on their way, have arrived, and are read.
class Pipe {
 public:
  /// On their way and unread.
  std::size_t held() const noexcept { return held_; }
  std::size_t arrived() const noexcept { return arrived_; }

  /// Of what is sent at once: bytes of payload begin `phase` bytes behind the beginning of a cell, and so many are
  /// kept of each; of others all are (kCellBytes).
  void put(const Piece& piece, std::size_t kept, std::size_t phase);
  void put(const Piece& piece) { put(piece, piece.kept, piece.begin % kCellBytes); }
  /// That was all.
  void end_of_put() noexcept { open_ = false; }
  /// The next `n` of those that are on their way have arrived.
  void arrive(std::size_t n) noexcept { arrived_ += n; }
  /// Reads what has arrived, in order; returns how much that was.
  std::size_t take(const iovec* buffers, std::size_t count);
  /// The same bytes, and they stay.
  std::size_t peek(const iovec* buffers, std::size_t count) const;
  /// Throws away so much of what has arrived, or all of it; returns how much that was.
  std::size_t skip(std::size_t most) noexcept;
  /// The first bytes that have arrived, in one piece; empty: none have. consume() takes them away.
  Piece front() const noexcept;
  /// More of what was sent together with those has arrived.
  bool front_goes_on() const noexcept;
  void consume(std::size_t n) noexcept;
  /// What has not arrived is lost.
  void cut() noexcept;
  void clear() noexcept;

 private:
  struct Chunk {
    Row row;
    std::size_t begin = 0;    // read so far
    bool is_further = false;  // sent together with the one before
  };
  void add_chunk(std::size_t kept, std::size_t phase);

  std::deque<Chunk> chunks_;
  bool open_ = false;  // more of the same may be put
  std::size_t held_ = 0;
  std::size_t arrived_ = 0;
};

}  // namespace nbdgw::sim
