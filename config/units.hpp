#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/time.hpp"

namespace nbdgw::config {

/// A whole number in decimal digits and nothing else. nullopt: not that, or beyond 64 bits.
std::optional<std::uint64_t> parse_integer(std::string_view text) noexcept;

/// "64MiB": a whole number of B, KiB, MiB, GiB or TiB; without a unit, bytes. nullopt: not that, or beyond 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;

/// "500ms": a whole number of us, ms, s, min or h. The unit must be there. nullopt: not that, or too long.
std::optional<proto::Micros> parse_duration(std::string_view text) noexcept;

/// The shortest text that parse_size() reads as `bytes`.
std::string format_size(std::uint64_t bytes);

/// The shortest text that parse_duration() reads as `micros`.
std::string format_duration(proto::Micros micros);

}  // namespace nbdgw::config
