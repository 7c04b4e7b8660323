#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

namespace nbdgw::sim {

/// The source of everything that is not decided: splitmix64 (Steele, Lea and Flood, 2014). Not the standard library's
/// distributions, whose results differ between libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// A generator of its own for a part of the world: what one part draws does not shift what another one does.
  Random fork() noexcept { return Random(next()); }

  /// Below `bound` > 0.
  std::uint64_t below(std::uint64_t bound) noexcept { return next() % bound; }
  /// Both ends included.
  std::int64_t between(std::int64_t least, std::int64_t most) noexcept {
    return least + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(most - least) + 1));
  }
  /// As often in each power of two: for sizes and times.
  std::int64_t spread(std::int64_t least, std::int64_t most) noexcept;
  bool chance(double probability) noexcept {
    return static_cast<double>(next() >> 11) < probability * 9007199254740992.0;
  }
  template <typename T>
  T pick(std::initializer_list<T> choices) noexcept {
    return choices.begin()[below(choices.size())];
  }
  template <typename Container>
  auto& any_of(Container& container) noexcept {
    return container[below(container.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace nbdgw::sim
