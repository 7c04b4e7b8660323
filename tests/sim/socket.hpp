#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "tests/sim/network.hpp"
#include "tests/sim/pipe.hpp"

namespace nbdgw::sim {

/// A descriptor of the gateway and, for a connection, the model's end of it.
struct Socket {
  enum Kind : int { tcp, datagram, event, poller };
  enum class State : std::uint8_t { fresh, connecting, connected, dead };

  Socket(std::uint64_t number, Kind what) : id(number), kind(what) {}

  const std::uint64_t id;
  const Kind kind;
  State state = State::fresh;
  int fd = -1;  // the gateway's; -1: it has closed it

  // The gateway's side.
  int error = 0;            // to be told once
  int low_water = 1;        // bytes
  bool linger_0 = false;    // close() is a reset
  bool shut = false;        // it sends no more
  std::uint64_t rings = 0;  // of an eventfd
  int poll_set = -1;        // that it is in
  std::uint32_t interest = 0;
  void* data = nullptr;
  bool listed = false;  // in the poll set's list of those that may be ready

  // Of a poller.
  std::vector<std::uint64_t> listed_ids;

  // The model's side.
  Peer* peer = nullptr;  // null: it has let go
  std::unique_ptr<Wire> wire;
  bool reads = true;
  bool dialled = false;     // it is a client
  bool delivering = false;  // the model is being called

  // Between them. "In" is towards the gateway.
  LinkHabits habits;
  Pipe in, out;
  std::deque<std::size_t> in_pieces, out_pieces;  // of what is on its way, in the order in which they arrive
  Micros in_delay = 0, out_delay = 0;             // beyond that of the habits
  Micros in_last = 0, out_last = 0;               // when the last thing planned arrives
  bool in_end = false, in_ended = false;          // a FIN was sent; has arrived
  bool out_end = false, out_ended = false;
  bool stalled = false;
  bool vanished = false;
  std::size_t in_owed = 0, out_owed = 0;  // bytes that have come while it was stalled
  bool in_end_owed = false, out_end_owed = false;
  bool reset_owed = false;  // has come while the model read nothing, and is told behind what had arrived
  Micros heard_at = 0;      // of the model, by the gateway's TCP
  Micros owed_since = 0;    // the first of what was sent and is unacknowledged
};

}  // namespace nbdgw::sim
