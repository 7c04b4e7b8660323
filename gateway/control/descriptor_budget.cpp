#include "gateway/control/descriptor_budget.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "gateway/shard/portal_socket.hpp"

namespace nbdgw::control {
namespace {

/// Standard streams (3), the control and the admin thread's loops (3 each), the lookup of a name (some sockets and
/// files), the files of a reload, what the metrics read in /proc, the service manager's socket and pipe, the state
/// for the next process, and what libraries or a parent process have left open.
constexpr std::uint64_t kForTheProcess = 48;
/// epoll, the eventfd of its mailbox, and a socket that asks for a route.
constexpr std::uint64_t kForAWorker = 3;
/// The one that is accepted to be sent away.
constexpr std::uint64_t kForAListener = 2;

}  // namespace

DescriptorBudget share_out_descriptors(const config::Config& config, std::size_t workers, std::size_t listeners,
                                       std::uint64_t allowed) {
  DescriptorBudget budget{
      .own = kForTheProcess, .allowed = allowed, .wanted = config.limits.connections, .clients = 0};
  budget.own += workers * kForAWorker + listeners * kForAListener;
  // A newcomer is there before it is decided who goes.
  budget.own += config.listen.admin.size() * (config::kAdminConnections + 1 + kForAListener);
  std::vector<bool> used(config.targets.size());
  for (const config::Export& exported : config.exports) {
    if (used[exported.target]) continue;
    used[exported.target] = true;
    // All connections, and either addresses that one of them tries side by side, or an errand to another group.
    budget.own += config.targets[exported.target].connections + shard::kMaxAttempts;
  }
  const std::uint64_t left = allowed > budget.own ? allowed - budget.own : 0;
  budget.clients = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, budget.wanted));
  return budget;
}

std::uint64_t raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::numeric_limits<std::uint64_t>::max();
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

}  // namespace nbdgw::control
