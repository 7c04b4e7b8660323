#include "gateway/shard/session_numbers.hpp"

namespace nbdgw::shard {

std::uint32_t SessionNumbers::take(std::string_view iqn) {
  std::uint32_t number = hash(iqn);
  while (!taken_.insert(number).second) ++number;
  return number;
}

std::uint32_t SessionNumbers::hash(std::string_view iqn) noexcept {
  std::uint32_t value = 0x811c9dc5;
  for (const char c : iqn) {
    value ^= static_cast<std::uint8_t>(c);
    value *= 0x01000193;
  }
  return value;
}

}  // namespace nbdgw::shard
