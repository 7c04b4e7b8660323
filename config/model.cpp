#include "config/model.hpp"

#include <algorithm>

namespace nbdgw::config {

std::uint32_t worker_count(const Config& config, std::uint32_t cpus) noexcept {
  if (config.workers != 0) return config.workers;
  const std::uint64_t by_memory = config.limits.memory / kMinWorkerMemory;
  const std::uint64_t by_targets = config.targets.size();
  return static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, std::min({std::uint64_t{cpus}, by_memory, by_targets})));
}

}  // namespace nbdgw::config
