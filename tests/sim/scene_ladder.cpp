// Worlds about the ladder, and about when it has to end.
#include <algorithm>

#include "tests/sim/scene.hpp"

namespace nbdgw::sim {

using proto::kMillisecond;
using proto::kSecond;

/// Nobody hears of what a reset by others has ended but from the next command.
void Scene::let_others_reset(TargetOptions& options) {
  options.controllers.resize(1);
  TargetFaults& faults = options.faults;
  faults.rate = {};
  faults.tick = random_.spread(3, 30) * kMillisecond;
  faults.set_mean(Fault::reset_by_others, random_.spread(10, 300) * kMillisecond);
  faults[Fault::slow_command] = 0.2;
  faults.longest_delay = random_.spread(20, 1000) * kMillisecond;
  if (random_.chance(0.7)) faults[Fault::function_refused] = 0.7;
  if (random_.chance(0.5)) faults[Fault::hung_command] = 0.02;
  options.habits.task_aborted_status = false;
}

void Scene::let_units_hang(TargetOptions& options) {
  TargetFaults& faults = options.faults;
  faults.rate = {};
  faults.tick = random_.spread(3, 30) * kMillisecond;
  faults.set_mean(Fault::unit_hangs, random_.spread(10, 100) * kMillisecond);
  faults.longest_outage = random_.spread(10, 60) * kSecond;
  TargetHabits& habits = options.habits;
  habits.hung_units_answer = random_.chance(0.8);
  habits.window = std::max(habits.window, 32U);
}

/// Nothing is wrong there, and nothing is done at once.
void Scene::take_time(TargetOptions& options) {
  options.faults = TargetFaults{};
  options.habits.redirects_in_circles = false;
  options.habits.instant = 0;
  options.habits.r2t_length = options.habits.data_in_length = 0;
  options.habits.slowest = random_.spread(5, 200) * kMillisecond;
  options.habits.quickest = options.habits.slowest / 2;
}

/// LUNs that go on by themselves, before anybody's patience is over, and tell meanwhile who they are.
void Scene::let_units_wait(TargetOptions& options) {
  options.faults = TargetFaults{};
  options.habits.redirects_in_circles = false;
  options.habits.hung_units_answer = true;
  options.faults.shortest_outage = 32 * kSecond;
  options.faults.longest_outage = 55 * kSecond;
  options.faults.set_mean(Fault::unit_hangs, random_.spread(1000, 5000) * kMillisecond);
}

/// Nothing else goes wrong there, and nobody uses another disk: all that is told an error was taken along.
void Scene::make_deadly(TargetOptions& options) {
  options.faults = TargetFaults{};
  options.faults[Fault::deadly_read] = 1;
  options.luns.resize(1);
  options.media.resize(1);
  MediumOptions& medium = options.media.front();
  medium.deadly_block = random_.below(medium.blocks);
  options.habits.instant = random_.pick({0.0, 0.5});
}

}  // namespace nbdgw::sim
