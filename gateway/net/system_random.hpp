#pragma once

#include "proto/random.hpp"

namespace nbdgw::net {

/// The kernel's random generator. Keeps no state: one object may serve any number of threads.
class SystemRandom final : public proto::RandomSource {
 public:
  void fill(std::span<std::uint8_t> out) override;
};

}  // namespace nbdgw::net
