#pragma once

#include "proto/time.hpp"

namespace nbdgw::shard {

/// Something on a shard that goes on for several turns, beside its clients and stations, and then is over. Called on
/// the shard's thread at the very end of a turn, when no list of the turn refers to anything any more: so here, and
/// only here, stations, exports and sockets may be destroyed.
class Chore {
 public:
  virtual ~Chore() = default;

  /// What can be done now. True: it is over; the shard destroys it.
  virtual bool advance(proto::Micros now) = 0;
  /// When there must be a turn at the latest, or proto::kNever.
  virtual proto::Micros next_deadline() const noexcept = 0;
};

}  // namespace nbdgw::shard
