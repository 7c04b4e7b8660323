// Worlds about which disk it is, and what its cache has lost.
#include <string>
#include <utility>

#include "tests/sim/scene.hpp"

namespace nbdgw::sim {

using proto::kMillisecond;

namespace {

/// Make of the source of a scene that of its late answers,
constexpr std::uint64_t kLateAnswers = 0x6c617465;
/// that of its refusals,
constexpr std::uint64_t kRefusedSyncs = 0x72656675;
/// and that of its reloads.
constexpr std::uint64_t kRemakes = 0x72656d616b65;

}  // namespace

void Scene::swap_disks(TargetOptions& options) {
  // It differs in nothing but its name.
  options.media.resize(options.luns.size());
  MediumOptions other = options.media.front();
  other.serial = "SIM1199";
  if (other.naa != 0) other.naa = 0x6001405000000000 + 199;
  if (!other.t10.empty()) other.t10 = "SIMULATR" + other.serial;
  options.media.push_back(other);
  TargetFaults& faults = options.faults;
  faults.longest_outage = random_.spread(5, 2000) * kMillisecond;
  faults.set_mean(Fault::unit_remapped, random_.spread(50, 500) * kMillisecond);
  for (const Fault fault : {Fault::identity_unreadable, Fault::inquiry_changed, Fault::connection_reset}) {
    if (random_.chance(0.5)) faults.set_mean(fault, random_.spread(200, 2000) * kMillisecond);
  }
  if (random_.chance(0.5)) {
    faults[Fault::slow_command] = 0.1;
    faults.longest_delay = random_.spread(1, 200) * kMillisecond;
  }
  if (random_.chance(0.5)) options.habits.window = static_cast<std::uint32_t>(random_.spread(2, 16));
  // What is told is heard of all the same.
  if (silent_) faults[Fault::inquiry_changed] = faults[Fault::connection_reset] = 0;
  options.habits.quiet_changes = silent_;
}

/// Who could know what is lost: processes, exports and clients that come after others.
void Scene::make_anew(TroubleHabits& trouble, OperatorHabits& acts) {
  trouble.lost_links = trouble.restarts = acts.remakes = acts.removes = acts.drains = 0;
  if (random_.chance(0.3)) trouble.lost_links = random_.spread(20, 500) * kMillisecond;
  plain_power_on_ = random_.chance(0.55) && !late_ && !leavers_;
  if (!plain_power_on_ && random_.chance(0.5)) {
    trouble.restarts = random_.spread(200, 2000) * kMillisecond;
  } else if (random_.chance(0.7)) {
    acts.remakes = random_.spread(200, 2000) * kMillisecond;
  }
  // Only where it has logged out itself it can know what a login is told.
  if (plain_power_on_ && acts.remakes == 0)
    acts.remakes = Random(Random(random_).next() ^ kRemakes).spread(200, 2000) * kMillisecond;
  if (!leavers_) return;
  trouble.lost_links = Random(Random(random_).next() ^ kLeavers).spread(5, 50) * kMillisecond;
  trouble.restarts = acts.remakes = 0;
}

void Scene::lose_caches(TargetOptions& options) {
  for (MediumOptions& medium : options.media) {
    medium.write_cache = true;
    if (random_.chance(0.5)) medium.write_same = true;
    if (random_.chance(0.5)) medium.fua = true;
  }
  TargetFaults& faults = options.faults;
  // What has to do with other things would only come between.
  for (std::size_t i = 0; i < kFirstUndrawnFault; ++i) {
    if (random_.chance(0.7)) faults.rate[i] = 0;
  }
  faults.longest_outage = random_.spread(10, 3000) * kMillisecond;
  faults.set_mean(Fault::power_loss, random_.spread(30, 1000) * kMillisecond);
  if (random_.chance(0.3)) faults[Fault::synchronize_fails] = 0.2;
  if (late_) {
    faults[Fault::power_loss] = faults[Fault::hung_command] = 0;
    faults[Fault::deferred_error] = 0.02;
    faults[Fault::slow_command] = 0.2;
    faults.longest_delay = Random(Random(random_).next() ^ kLateAnswers).spread(1, 100) * kMillisecond;
  }
  // A SYNCHRONIZE CACHE that is refused, and has lost nothing.
  if (Random(Random(random_).next() ^ kRefusedSyncs).chance(0.3)) faults[Fault::reservation_conflict] = 0.1;
  options.habits.plain_power_on = plain_power_on_;
  if (!plain_power_on_) return;
  options.habits.login_attention = random_.chance(0.1);
  for (const Fault fault :
       {Fault::logout_requested, Fault::parameters_requested, Fault::drop_announced, Fault::session_drop_announced})
    faults[fault] = 0;
}

/// Writes of two sessions to one block come one after the other only where nothing ends them.
void Scene::name_twice(TargetOptions& options) {
  options.faults = TargetFaults{};
  if (random_.chance(0.5)) options.faults[Fault::slow_command] = 0.1;
  if (random_.chance(0.5)) options.faults[Fault::synchronize_fails] = 0.2;
  options.faults.longest_delay = random_.spread(1, 50) * kMillisecond;
  options.habits.redirects_in_circles = false;
  for (MediumOptions& medium : options.media) {
    // That surely tells it from all others.
    if (medium.naa == 0) medium.naa = 0x6001405000001000 + std::stoull(medium.serial.substr(3));
  }
}

/// On one thread they share what belongs to a disk; on two that cannot be, and is told.
void Scene::add_names(GatewaySetup& setup) {
  setup.shards = 1;
  GatewaySetup::Target second = setup.targets.front();
  second.settings.label += kSecondName;
  for (bridge::ExportConfig& each : second.exports) each.name += kSecondName;
  setup.targets.push_back(std::move(second));
}

}  // namespace nbdgw::sim
