#pragma once

#include <cstdint>
#include <vector>

namespace nbdgw::sim {

// Big-endian numbers on the wire. Not the project's own: what is wrong there must not be wrong here, too.

template <typename Number>
Number get(const std::uint8_t* from) noexcept {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) value = static_cast<Number>((value << 8) | from[i]);
  return value;
}
template <>
inline std::uint8_t get<std::uint8_t>(const std::uint8_t* from) noexcept {
  return *from;
}

template <typename Number>
void put(std::vector<std::uint8_t>& to, Number value) {
  for (std::size_t i = sizeof value; i-- > 0;) to.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

}  // namespace nbdgw::sim
