#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// How the directions of a connection behave.
struct LinkHabits {
  Micros delay = 20;             // from one end to the other
  Micros jitter = 0;             // more, up to so much; nothing overtakes within a connection
  Micros uneven = 0;             // more, up to so much, drawn for each connection and direction: others overtake it
  Micros pace = 0;               // of 64 KiB, in one direction; 0: as fast as they come
  std::size_t piece = 1 << 20;   // no more bytes than this arrive together: pieces break anywhere
  std::size_t room = 256 << 10;  // bytes on their way and unread, before who sends has to wait
};

/// One direction of a connection: bytes are on their way, have arrived, and are read.
class Pipe {
 public:
  /// On their way and unread.
  std::size_t held() const noexcept { return held_; }
  std::size_t arrived() const noexcept { return arrived_; }

  void put(std::vector<std::uint8_t> bytes);
  /// The next `n` of those that are on their way have arrived.
  void arrive(std::size_t n) noexcept { arrived_ += n; }
  /// Reads what has arrived, in order; returns how much that was.
  std::size_t take(const iovec* buffers, std::size_t count);
  /// The first bytes that have arrived, in one piece; empty: none have. consume() takes them away.
  std::span<const std::uint8_t> front() const noexcept;
  void consume(std::size_t n) noexcept;
  /// What has not arrived is lost.
  void cut() noexcept;
  void clear() noexcept;
  /// A buffer that was used before, for put().
  std::vector<std::uint8_t> buffer();

 private:
  struct Chunk {
    std::vector<std::uint8_t> bytes;
    std::size_t begin = 0;  // read so far
  };
  std::deque<Chunk> chunks_;
  std::size_t held_ = 0;
  std::size_t arrived_ = 0;
};

}  // namespace nbdgw::sim
