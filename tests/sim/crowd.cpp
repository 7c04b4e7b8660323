#include "tests/sim/crowd.hpp"

namespace nbdgw::sim {
namespace {

using proto::kMillisecond;
using proto::kSecond;

RudeHabits draw_host(Random& random) {
  RudeHabits habits;
  habits.manner =
      random.pick({RudeHabits::Manner::announces, RudeHabits::Manner::sends_half, RudeHabits::Manner::reads_nothing,
                   RudeHabits::Manner::reads_nothing, RudeHabits::Manner::asks_nonsense});
  habits.links = static_cast<std::uint32_t>(random.between(1, 4));
  habits.requests = static_cast<std::uint32_t>(random.spread(1, 32));
  habits.stays = random.spread(1000, 120'000) * kMillisecond;
  habits.room = static_cast<std::size_t>(random.spread(2 << 10, 64 << 10));
  habits.structured = random.chance(0.3);
  return habits;
}

}  // namespace

CrowdHabits CrowdHabits::draw(Random& random) {
  CrowdHabits habits;
  if (!random.chance(0.25)) return habits;
  if (random.chance(0.6)) habits.memory = static_cast<std::uint64_t>(random.spread(4 << 20, 8 << 20));
  if (random.chance(0.5)) habits.max_in_flight = static_cast<std::uint32_t>(random.spread(1, 8));
  habits.stall_timeout = random.spread(1000, 60'000) * kMillisecond;
  if (random.chance(0.5)) habits.peer_silence = random.spread(2000, 20'000) * kMillisecond;
  for (std::int64_t left = random.between(0, 3); left > 0; --left) habits.hosts.push_back(draw_host(random));
  return habits;
}

void CrowdHabits::apply(GatewaySetup& setup) const noexcept {
  if (memory > 0) setup.shard.memory = memory;
  if (max_in_flight > 0) setup.clients.max_in_flight = max_in_flight;
  if (stall_timeout > 0) setup.clients.stall_timeout = stall_timeout;
  if (peer_silence > 0) setup.shard.peer_silence = peer_silence;
}

}  // namespace nbdgw::sim
