#include "tests/sim/checkers/service_checker.hpp"

#include <algorithm>

namespace nbdgw::sim {
namespace {

/// What is not worth being taken apart: turns of the gateway, reconnects of TCP, the target's own answers.
constexpr Micros kSlack = 50 * proto::kMillisecond;
/// READ, change, WRITE of a block at either end; a look which disk it is; SYNCHRONIZE CACHE behind it.
constexpr Micros kCommandsAround = 5;
/// Of a READ: the look.
constexpr Micros kCommandsAroundRead = 1;
/// The shortest limits that a target may have (MediumOptions::draw, TargetHabits::draw).
constexpr std::uint64_t kLeastTransfer = 64 * 512;

std::uint64_t parts(std::uint64_t bytes, std::uint64_t of) noexcept {
  return bytes / std::max<std::uint64_t>(of, 1) + 1;
}

/// How long one request takes, if nobody else asks for anything.
Micros alone(std::uint64_t bytes, const TargetHabits& target, const LinkHabits& links,
             Micros around = kCommandsAround) {
  const Micros there_and_back = 2 * (links.delay + links.jitter + links.uneven);
  // What one direction of a connection can hold goes at once; then room is waited for.
  const auto through = static_cast<Micros>(parts(bytes, links.room)) * there_and_back +
                       2 * static_cast<Micros>(parts(bytes, 65536)) * links.pace;
  const std::uint64_t asked_at_once = target.r2t_length != 0 ? target.r2t_length : target.max_burst;
  const auto asks = static_cast<Micros>(parts(bytes, asked_at_once)) * there_and_back;
  const Micros commands = static_cast<Micros>(parts(bytes, kLeastTransfer)) + around;
  return 2 * through + asks + commands * (there_and_back + target.slowest);
}

}  // namespace

void ServiceChecker::watch(const Client& client, const Site& site, const std::vector<const Client*>& all,
                           std::uint32_t rude, const LinkHabits& links, std::uint64_t memory) {
  Micros bound = kSlack + rude * alone(memory, site.habits(), links);
  for (const Client* each : all) {
    if (!each->habits().spared) bound += alone(memory, site.habits(), links);
    const Micros around = each->habits().reads < 1 ? kCommandsAround : kCommandsAroundRead;
    bound += static_cast<Micros>(each->habits().depth) * alone(each->habits().most, site.habits(), links, around);
  }
  watched_[&client] = {.bound = 2 * bound};
}

void ServiceChecker::on_attached(const Client& client) {
  const auto found = watched_.find(&client);
  if (found != watched_.end() && found->second.attached_at < 0) found->second.attached_at = timeline_.now();
}

void ServiceChecker::on_reply(const Client& client, const AskedRequest& request, std::uint32_t error) {
  const auto found = watched_.find(&client);
  if (found == watched_.end()) return;
  Watched& watched = found->second;
  check(client, watched, request.asked_at);
  // There is no reason for any.
  if (error != 0) {
    complaints_.complain("service", client.name() + " is told error " + std::to_string(error) +
                                        ", and nothing is wrong with its target");
  }
}

void ServiceChecker::look() {
  for (const auto& [client, watched] : watched_) {
    const Micros since = client->waits_since();
    if (since != proto::kNever) check(*client, watched, since);
  }
}

void ServiceChecker::check(const Client& client, const Watched& watched, Micros asked_at) {
  if (watched.attached_at < 0 || asked_at < watched.attached_at) return;
  const Micros waited = timeline_.now() - asked_at;
  longest_seen_ = std::max(longest_seen_, static_cast<double>(waited) / static_cast<double>(watched.bound));
  if (waited <= watched.bound) return;
  complaints_.complain("service", client.name() + ", whose target is well, has waited for " + std::to_string(waited) +
                                      " us, and should have been answered within " + std::to_string(watched.bound) +
                                      " us");
}

}  // namespace nbdgw::sim
