#pragma once

#include <cstddef>

#include "tests/sim/piece.hpp"

namespace nbdgw::sim {

/// The target's end of a TCP connection. After close(), reset() or vanish() it is used no more.
class Line {
 public:
  /// All of them at once.
  virtual void send(std::span<const Piece> pieces) = 0;
  /// What the initiator has not read yet.
  virtual std::size_t backlog() const = 0;
  virtual void read(bool on) = 0;
  virtual void stall(bool yes) = 0;
  /// No more comes from the target, but it reads on.
  virtual void half_close() = 0;
  virtual void close() = 0;
  virtual void reset() = 0;
  virtual void vanish() = 0;

 protected:
  ~Line() = default;
};

/// How the target lets go of a connection.
enum class Cut : std::uint8_t { close, reset, vanish };

}  // namespace nbdgw::sim
