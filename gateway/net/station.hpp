#pragma once

#include <cstdint>

#include "proto/time.hpp"

namespace nbdgw::net {

/// What lives on a shard behind the NBD clients and takes part in the end of its turns: a session with its exports,
/// or a test's stand-in. All calls come from the shard's thread.
class Station {
 public:
  virtual ~Station() = default;

  /// Hands on what came in since the last call: answers to the clients, new commands to the queues.
  virtual void deliver(proto::Micros now) = 0;
  /// Sends what is ready to be sent.
  virtual void transmit(proto::Micros now) = 0;

  /// When to call on_deadline(), or proto::kNever.
  virtual proto::Micros next_deadline() const noexcept = 0;
  virtual void on_deadline(proto::Micros now) = 0;

  /// Shutdown: takes no new work, and finishes what it has.
  virtual void begin_drain(proto::Micros now) = 0;
  /// Nothing is in flight.
  virtual bool idle() const noexcept = 0;
  /// Commands that are with the target, more or less.
  virtual std::uint32_t load() const noexcept = 0;

 private:
  friend class Shard;
  bool touched_ = false;  // is in the shard's list for the end of this turn
};

}  // namespace nbdgw::net
