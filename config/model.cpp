#include "config/model.hpp"

#include <algorithm>

namespace nbdgw::config {

std::uint32_t worker_count(const Config& config, std::uint32_t cpus) noexcept {
  if (config.workers != 0) return config.workers;
  const std::uint64_t by_memory = config.limits.memory / kMinWorkerMemory;
  std::uint64_t by_targets = 0;
  for (std::uint32_t i = 0; i < config.targets.size(); ++i) {
    by_targets +=
        std::any_of(config.exports.begin(), config.exports.end(), [i](const Export& e) { return e.target == i; });
  }
  return static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, std::min({std::uint64_t{cpus}, by_memory, by_targets})));
}

}  // namespace nbdgw::config
