#pragma once

#include <cstdint>

#include "proto/bell.hpp"
#include "proto/time.hpp"

namespace nbdgw::shard {

class Shard;

/// What lives on a shard behind the NBD clients and takes part in the end of its turns: a session with its exports,
/// or a test's stand-in. All calls come from the shard's thread.
///
/// It gets its turn in the turn of the shard in which its bell was rung: by its engines, wherever they get work.
class Station {
 public:
  Station() noexcept : bell_(&on_bell, this) {}
  virtual ~Station() = default;
  Station(const Station&) = delete;
  Station& operator=(const Station&) = delete;

  /// For its engines, which may be several.
  proto::Bell& bell() noexcept { return bell_; }

  /// Hands on what came in since the last call: answers to the clients, new commands to the queues.
  virtual void deliver(proto::Micros now) = 0;
  /// Sends what is ready to be sent.
  virtual void transmit(proto::Micros now) = 0;
  /// There is something left to do for deliver() or transmit() that no socket, deadline or message will bring. Asked
  /// at the end of its turn; and it must not have become true by the time when the shard sleeps, but that the bell
  /// was rung.
  virtual bool wants_turn() const noexcept = 0;

  /// When to call on_deadline(), or proto::kNever.
  virtual proto::Micros next_deadline() const noexcept = 0;
  virtual void on_deadline(proto::Micros now) = 0;

  /// Shutdown: takes no new work, and finishes what it has.
  virtual void begin_drain(proto::Micros now) = 0;
  /// The shard ends with this turn: what was to be told later is told now.
  virtual void last_words(proto::Micros) {}
  /// Nothing is in flight.
  virtual bool idle() const noexcept = 0;
  /// What is in flight may come to its end now.
  virtual bool has_path() const noexcept { return true; }
  /// Commands that are with the target, more or less.
  virtual std::uint32_t load() const noexcept = 0;

 private:
  friend class Shard;

  static void on_bell(void* station) noexcept;

  proto::Bell bell_;
  Shard* shard_ = nullptr;  // that knows it
  bool touched_ = false;    // is in the shard's list for the end of this turn
};

}  // namespace nbdgw::shard
