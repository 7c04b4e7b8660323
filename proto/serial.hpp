#pragma once

#include <cstdint>

namespace nbdgw::proto {

/// Serial-number arithmetic over 32 bits (RFC 1982, used by RFC 7143 section 4.2.2.1 for CmdSN, StatSN, ExpCmdSN,
/// MaxCmdSN): whether `a` comes before `b`. Numbers exactly 2^31 apart are not ordered: then neither comes first.
constexpr bool serial_less(std::uint32_t a, std::uint32_t b) noexcept {
  const std::uint32_t distance = b - a;
  return distance != 0 && distance < 0x80000000U;
}

/// Whether `a` comes before `b` or is the same.
constexpr bool serial_less_equal(std::uint32_t a, std::uint32_t b) noexcept {
  return a == b || serial_less(a, b);
}

}  // namespace nbdgw::proto
