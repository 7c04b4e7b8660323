#include "tests/sim/random.hpp"

#include <bit>

namespace nbdgw::sim {

std::int64_t Random::spread(std::int64_t least, std::int64_t most) noexcept {
  const auto low = std::bit_width(static_cast<std::uint64_t>(least));
  const auto high = std::bit_width(static_cast<std::uint64_t>(most));
  const std::int64_t bits = between(low, high);
  const std::int64_t from = bits == 0 ? 0 : std::int64_t{1} << (bits - 1);
  const std::int64_t to = (std::int64_t{1} << bits) - 1;
  return between(from < least ? least : from, to > most ? most : to);
}

}  // namespace nbdgw::sim
