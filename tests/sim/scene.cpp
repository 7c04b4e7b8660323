#include "tests/sim/scene.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/checkers/patience_checker.hpp"

namespace nbdgw::sim {

using proto::kMillisecond;

namespace {

constexpr std::uint64_t kLaterKinds = 0x6c61746572;
constexpr std::uint64_t kSilentClients = 0x73696c656e74;
constexpr std::uint64_t kLateTales = 0x6c617465;
constexpr std::uint64_t kRemakes = 0x72656d616b65;
constexpr const char* kSecondName = "-too";

}  // namespace

Scene Scene::draw(std::uint64_t seed) {
  Random random(seed ^ 0x5ce2e5);
  const std::uint64_t kind = random.below(100);
  if (kind < 6) return {Kind::patience, random};
  if (kind < 14) {
    Scene scene(Kind::right_disk, random);
    scene.silent_ = Random(seed ^ kSilentClients).chance(0.4);
    return scene;
  }
  if (kind < 22) {
    Scene scene(Kind::caches, random);
    scene.late_ = Random(seed ^ kLateTales).chance(0.3);
    return scene;
  }
  // From a source of its own: the worlds without them are as they were before there were such scenes.
  Random later(seed ^ kLaterKinds);
  const std::uint64_t other = later.below(100);
  if (other < 4) return {Kind::names, later};
  if (other < 10) return {Kind::deadly, later};
  return {Kind::none, random};
}

void Scene::set(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd) {
  switch (kind_) {
    case Kind::none:
      break;
    case Kind::patience:
    case Kind::right_disk:
      // Whoever is started anew takes any disk, and sends clients away.
      trouble.restarts = acts.remakes = acts.removes = 0;
      if (kind_ == Kind::patience) acts.tunes = 0;
      break;
    case Kind::caches:
      trouble.lost_links = trouble.restarts = acts.remakes = acts.removes = acts.drains = 0;
      if (random_.chance(0.3)) trouble.lost_links = random_.spread(20, 500) * kMillisecond;
      plain_power_on_ = random_.chance(0.4);
      if (!plain_power_on_ && random_.chance(0.5)) {
        trouble.restarts = random_.spread(200, 2000) * kMillisecond;
      } else if (random_.chance(0.7)) {
        acts.remakes = random_.spread(200, 2000) * kMillisecond;
      }
      // Only where it has logged out itself it can know what a login is told.
      if (plain_power_on_ && acts.remakes == 0)
        acts.remakes = Random(Random(random_).next() ^ kRemakes).spread(200, 2000) * kMillisecond;
      break;
    case Kind::names:
      acts = {};
      break;
    case Kind::deadly:
      // Who asks for that block is known for as long as nobody asks in his place.
      trouble.lost_links = trouble.stalled_links = trouble.restarts = 0;
      acts = {};
      crowd.hosts.clear();
      break;
  }
}

void Scene::set(TargetOptions& options, Theme theme) {
  switch (kind_) {
    case Kind::none:
      break;
    case Kind::patience:
      make_pass(options);
      break;
    case Kind::right_disk:
      if (theme != Theme::units) options.faults = TargetFaults{};
      swap_disks(options);
      break;
    case Kind::caches:
      lose_caches(options);
      break;
    case Kind::names:
      name_twice(options);
      break;
    case Kind::deadly:
      make_deadly(options);
      break;
  }
}

void Scene::make_pass(TargetOptions& options) {
  for (std::size_t i = 0; i < kFirstUndrawnFault; ++i) {
    if (!passes(static_cast<Fault>(i))) options.faults.rate[i] = 0;
  }
  options.faults.longest_outage = random_.spread(10, 3000) * kMillisecond;
  // To fail over to.
  if (options.controllers.size() == 1 && random_.chance(0.7)) {
    ControllerOptions second = options.controllers.front();
    for (std::string& address : second.addresses) address.replace(address.rfind('.') + 1, 1, "2");
    second.group_tag = 2;
    options.controllers.push_back(second);
  }
  for (const Fault fault :
       {Fault::failover, Fault::unit_unmapped, Fault::identity_unreadable, Fault::inquiry_changed}) {
    if (random_.chance(0.7)) options.faults.set_mean(fault, random_.spread(100, 3000) * kMillisecond);
  }
}

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
  if (late_ && !plain_power_on_) {
    faults[Fault::power_loss] = faults[Fault::hung_command] = 0;
    faults[Fault::deferred_error] = 0.02;
    faults[Fault::slow_command] = 0.2;
    faults.longest_delay = Random(Random(random_).next() ^ kLateTales).spread(1, 100) * kMillisecond;
  }
  options.habits.plain_power_on = plain_power_on_;
  if (!plain_power_on_) return;
  options.habits.login_attention = random_.chance(0.2);
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

void Scene::set(GatewaySetup& setup) {
  GatewaySetup::Target& target = setup.targets.front();
  for (bridge::ExportConfig& each : target.exports) {
    if (kind_ == Kind::patience || kind_ == Kind::deadly) each.hold_timeout = proto::kNever;
    if (kind_ == Kind::deadly) each.retries = 5;
  }
  if (kind_ != Kind::names) return;
  // On one thread they share what belongs to a disk; on two that cannot be, and is told.
  setup.shards = 1;
  GatewaySetup::Target second = target;
  second.settings.label += kSecondName;
  for (bridge::ExportConfig& each : second.exports) each.name += kSecondName;
  setup.targets.push_back(std::move(second));
}

void Scene::set(ClientHabits& habits, bool there) {
  if (kind_ == Kind::names && there && random_.chance(0.5)) habits.exported += kSecondName;
  if (kind_ == Kind::deadly && there) {
    habits.depth = static_cast<std::uint32_t>(random_.between(1, 6));
    habits.patience = 0;
  }
  if (kind_ == Kind::right_disk && random_.chance(0.5)) {
    habits.depth = static_cast<std::uint32_t>(random_.between(1, 2));
    habits.think = random_.spread(10, 1000) * kMillisecond;
  }
  if (silent_ && there) {
    habits.depth = 1;
    habits.think = random_.spread(1000, 10'000) * kMillisecond;
  }
  if (kind_ != Kind::caches || random_.chance(0.3)) return;
  habits.depth = static_cast<std::uint32_t>(random_.spread(1, 8));
  habits.reads = 0.2;
  habits.writes = random_.chance(0.5) ? 0.2 : 0.4;
  if (random_.chance(0.5)) habits.fua = 0.7;
  habits.most = 64 << 10;
}

}  // namespace nbdgw::sim
