#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "proto/nbd/constants.hpp"

namespace nbdgw::nbd {

/// What one connection did. Plain numbers that only grow; a shard adds them up for the metrics.
struct Counters {
  static constexpr std::size_t kCommands = 10;  // the nine of the protocol, and any other number
  static constexpr std::size_t kErrors = 9;     // success, and the eight errors of the protocol

  std::array<std::uint64_t, kCommands> requests{};  // headers taken, by index_of(command)
  std::array<std::uint64_t, kErrors> replies{};     // answered, by index_of(error)
  std::uint64_t bytes_received = 0;                 // off the socket, everything
  std::uint64_t bytes_sent = 0;                     // to the socket, everything
  std::uint64_t bytes_written = 0;                  // payload of WRITE handed to the backend
  std::uint64_t bytes_read = 0;                     // payload of READ sent
  std::uint64_t bytes_discarded = 0;                // payload of refused WRITEs
  std::uint64_t stalls = 0;                         // times that payload memory was asked for in vain
  std::uint64_t in_flight_stops = 0;                // times that reading stopped at the in-flight limit
  std::uint64_t options = 0;                        // options of the handshake taken
  std::uint64_t option_errors = 0;                  // of these, answered with an error

  static std::size_t index_of(proto::nbd::Command command) noexcept;
  static std::size_t index_of(proto::nbd::Error error) noexcept;

  Counters& operator+=(const Counters& other) noexcept;
};

}  // namespace nbdgw::nbd
