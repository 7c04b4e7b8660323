#pragma once

#include <cstddef>
#include <cstdint>

#include "config/model.hpp"

namespace nbdgw::control {

/// How the open files that the system allows are shared out. What the gateway needs for itself comes first: clients
/// that had them all would keep a lost session from coming back, and with it every other client from its disk.
struct DescriptorBudget {
  std::uint64_t own = 0;      // at most, beside those of NBD clients
  std::uint64_t allowed = 0;  // by the system, for all
  std::uint32_t wanted = 0;   // limits.connections
  std::uint32_t clients = 0;  // of these that may be let in

  bool is_short() const noexcept { return clients < wanted; }
};

/// `listeners`: sockets that NBD clients are accepted from.
DescriptorBudget share_out_descriptors(const config::Config& config, std::size_t workers, std::size_t listeners,
                                       std::uint64_t allowed);

/// Raises the limit of open files as far as the system lets us, and returns what there is then.
std::uint64_t raise_descriptor_limit() noexcept;

}  // namespace nbdgw::control
