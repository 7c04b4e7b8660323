#pragma once

#include <cstddef>

namespace nbdgw::sim {

/// Somebody moves these bytes. Whether they are in the payload memory of a gateway.
bool use_memory(const void* at, std::size_t bytes) noexcept;

}  // namespace nbdgw::sim
