#include "config/model.hpp"

#include <algorithm>

namespace nbdgw::config {

std::vector<bool> used_targets(const Config& config) {
  std::vector<bool> used(config.targets.size());
  for (const Export& exported : config.exports) {
    if (exported.target < used.size()) used[exported.target] = true;
  }
  return used;
}

std::uint32_t worker_count(const Config& config, std::uint32_t cpus) {
  if (config.workers != 0) return config.workers;
  const std::uint64_t by_memory = config.limits.memory / kMinWorkerMemory;
  const auto by_targets = static_cast<std::uint64_t>(std::ranges::count(used_targets(config), true));
  return static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, std::min({std::uint64_t{cpus}, by_memory, by_targets})));
}

}  // namespace nbdgw::config
