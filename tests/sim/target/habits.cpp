#include "tests/sim/target/habits.hpp"

#include <algorithm>

namespace nbdgw::sim {
namespace {

constexpr std::uint64_t kHabitsApart = 0x68616269;

}  // namespace

TargetHabits TargetHabits::draw(Random& random) {
  const auto size = [&random](std::int64_t least, std::int64_t most) {
    return static_cast<std::uint32_t>(random.spread(least, most));
  };
  TargetHabits habits;
  habits.max_connections = size(1, 8);
  habits.max_burst = size(8192, 1 << 20);
  habits.first_burst = std::min(size(512, 1 << 18), habits.max_burst);
  habits.max_r2t = size(1, 8);
  habits.segment = size(512, 1 << 18);
  habits.initial_r2t = random.chance(0.5);
  habits.immediate_data = random.chance(0.8);
  habits.digests = random.chance(0.5);
  habits.knows_new_keys = random.chance(0.5);
  habits.window = size(2, 256);
  habits.window_closes = random.chance(0.6);
  if (random.chance(0.3)) habits.r2t_length = size(512, 1 << 18);
  habits.r2ts_at_once = size(1, 8);
  if (random.chance(0.3)) habits.data_in_length = size(512, 1 << 16);
  habits.status_with_data = random.chance(0.7);
  habits.early_errors = random.chance(0.3);
  habits.descriptor_sense = random.chance(0.3);
  habits.instant = random.pick({0.0, 0.1, 0.5, 0.9});
  habits.quickest = random.spread(1, 200);
  habits.slowest = habits.quickest + random.spread(10, 5000);
  habits.task_aborted_status = random.chance(0.2);
  habits.ends_at_once = random.chance(0.5);
  habits.functions_in_order = random.chance(0.3);
  habits.parked_survive = random.chance(0.3);
  habits.resets_target = random.chance(0.5);
  habits.login_attention = random.chance(0.5);
  habits.own_attention = random.chance(0.4);
  habits.lingers = random.chance(0.4);
  habits.closes_hard = random.chance(0.3);
  habits.others_in_standby = random.chance(0.5);
  // From a source of its own: it shifts nothing else.
  Random own(Random(random).next() ^ kHabitsApart);
  habits.answers_first = own.chance(0.3);
  habits.recovers_parts = own.chance(0.3);
  return habits;
}

}  // namespace nbdgw::sim
