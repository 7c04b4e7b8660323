#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/random.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// What happens now and then until the world heals: when, whether it is left out, and how often it has.
class Occasions {
 public:
  Occasions(Timeline& timeline, std::vector<std::string> left_out)
      : timeline_(timeline), left_out_(std::move(left_out)) {}

  bool happens(const char* kind) const noexcept { return std::ranges::count(left_out_, kind) == 0; }
  /// `what` again and again, `mean` apart on the average; 0: never. Each has a random source of its own, so that to
  /// leave one out shifts no other.
  template <typename Owner>
  void plan(Owner& owner, Micros mean, Random& random, void (Owner::*what)()) {
    if (mean == 0) return;
    timeline_.after(random.between(1, 2 * mean), [this, &owner, mean, &random, what] {
      if (healed_) return;
      (owner.*what)();
      plan(owner, mean, random, what);
    });
  }
  /// Nothing happens any more.
  void heal() noexcept { healed_ = true; }

  /// How often it has, to be counted up.
  std::uint64_t& seen(const char* kind) { return seen_[kind]; }
  const std::map<std::string, std::uint64_t>& seen() const noexcept { return seen_; }

 private:
  Timeline& timeline_;
  const std::vector<std::string> left_out_;
  bool healed_ = false;
  std::map<std::string, std::uint64_t> seen_;
};

}  // namespace nbdgw::sim
