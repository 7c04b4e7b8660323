#pragma once

#include <cstddef>
#include <span>

#include "gateway/bridge/abilities.hpp"
#include "gateway/bridge/request.hpp"

namespace nbdgw::bridge {

/// Makes the command for what `segment` has to do next, anew for each sending: the abilities may have changed since.
/// `fua` is for writes only. Sets segment.command_blocks. The operation must be one that `can` allows
/// (Export::revise_operation()).
void prepare(Segment& segment, const Abilities& can, bool fua) noexcept;

/// SYNCHRONIZE CACHE over the whole LUN.
void prepare_flush(DiskCommand& command, const Abilities& can) noexcept;

/// Sets up segment.payload: the `length` bytes that begin `skew` bytes into the segment's memory.
void place_payload(Segment& segment, std::size_t skew, std::uint32_t length) noexcept;

}  // namespace nbdgw::bridge
