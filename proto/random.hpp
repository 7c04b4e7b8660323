#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace nbdgw::proto {

/// Random bytes for the pure layers, injected from outside: the system's generator in production, a seeded one in
/// tests.
class RandomSource {
 public:
  virtual void fill(std::span<std::uint8_t> out) = 0;

 protected:
  ~RandomSource() = default;
};

/// A random number below `bound` > 0. The slight bias does not matter for what it is used for (back-off jitter).
inline std::uint32_t random_below(RandomSource& source, std::uint32_t bound) {
  std::uint8_t bytes[4];
  source.fill(bytes);
  const std::uint32_t value =
      (std::uint32_t{bytes[0]} << 24) | (std::uint32_t{bytes[1]} << 16) | (std::uint32_t{bytes[2]} << 8) | bytes[3];
  return value % bound;
}

}  // namespace nbdgw::proto
