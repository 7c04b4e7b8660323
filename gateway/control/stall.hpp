#pragma once

#include <cstdint>
#include <string>

#include "config/model.hpp"
#include "proto/time.hpp"

namespace nbdgw::control {

/// How long a command that the target never answers may keep its request waiting, by a target's configuration: each
/// try climbs the whole escalation ladder, every rung of which is refused in its last moment; then the session is
/// dropped, and is back only just before the replacement timeout; and so on until no retry is left.
///
/// What comes on top is the doing of others: the wait behind an overlapping write that stalls itself, and the
/// commands of one request that follow each other (an unaligned WRITE reads first).
struct Stall {
  proto::Micros ping = 0;     // the deadline filter's question; 0: none is asked (timeouts.nop_interval: 0s)
  proto::Micros climb = 0;    // one try, from its sending to the end of the ladder
  std::uint32_t tries = 0;    // retries + 1
  proto::Micros without = 0;  // how long a request is held without a path; kNever: for as long as it takes
  proto::Micros total = 0;    // until the I/O error, in whole seconds; kNever: there is none
};

Stall worst_case_stall(const config::Target& target) noexcept;

/// The same for people, with what follows for the timeouts of NBD clients.
std::string describe(const Stall& stall, const config::Target& target);

}  // namespace nbdgw::control
