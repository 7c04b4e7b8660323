#include "tests/sim/scene.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/checkers/patience_checker.hpp"

namespace nbdgw::sim {

using proto::kMillisecond;
using proto::kSecond;

namespace {

/// Make of a seed those of scenes that were thought of later, and of what was added to those before.
constexpr std::uint64_t kLadderScenes = 0x6c61646472;
constexpr std::uint64_t kLaterKinds = 0x6c61746572;
constexpr std::uint64_t kSilentClients = 0x73696c656e74;
constexpr std::uint64_t kLateTales = 0x6c617465;
constexpr std::uint64_t kRemakes = 0x72656d616b65;

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
  if (kind < 28) return {Kind::away, random};
  if (kind < 33) return {Kind::crossing, random};
  if (kind < 37) return {Kind::gaps, random};
  Random ladder(seed ^ kLadderScenes);
  const std::uint64_t of_ladder = ladder.below(100);
  if (of_ladder < 4) return {Kind::quarrel, ladder};
  if (of_ladder < 8) return {Kind::long_hang, ladder};
  Random later(seed ^ kLaterKinds);
  const std::uint64_t other = later.below(100);
  if (other < 4) return {Kind::names, later};
  if (other < 10) return {Kind::deadly, later};
  return {Kind::none, random};
}

void Scene::set(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd) {
  switch (kind_) {
    case Kind::none:
    case Kind::away:
      break;
    case Kind::crossing:
      trouble.lost_links = random_.spread(3, 50) * kMillisecond;
      [[fallthrough]];
    case Kind::gaps:
      trouble.restarts = acts.remakes = acts.removes = acts.tunes = 0;
      acts.rungs = random_.spread(5, 100) * kMillisecond;
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
    case Kind::quarrel:
    case Kind::long_hang:
      // What is judged there are first sessions, which nothing else ends.
      trouble.restarts = acts.remakes = acts.removes = acts.rungs = acts.tunes = 0;
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
    case Kind::away:
      send_away(options);
      break;
    case Kind::crossing:
      end_what_sends(options);
      break;
    case Kind::gaps:
      leave_gaps(options);
      break;
    case Kind::quarrel:
      let_others_reset(options);
      break;
    case Kind::long_hang:
      let_units_hang(options);
      break;
    case Kind::names:
      name_twice(options);
      break;
    case Kind::deadly:
      make_deadly(options);
      break;
  }
}

/// To fail over to.
void Scene::add_controller(TargetOptions& options) {
  ControllerOptions second = options.controllers.front();
  for (std::string& address : second.addresses) address.replace(address.rfind('.') + 1, 1, "2");
  second.group_tag = 2;
  options.controllers.push_back(second);
}

void Scene::make_pass(TargetOptions& options) {
  for (std::size_t i = 0; i < kFirstUndrawnFault; ++i) {
    if (!passes(static_cast<Fault>(i))) options.faults.rate[i] = 0;
  }
  options.faults.longest_outage = random_.spread(10, 3000) * kMillisecond;
  if (options.controllers.size() == 1 && random_.chance(0.7)) add_controller(options);
  for (const Fault fault :
       {Fault::failover, Fault::unit_unmapped, Fault::identity_unreadable, Fault::inquiry_changed}) {
    if (random_.chance(0.7)) options.faults.set_mean(fault, random_.spread(100, 3000) * kMillisecond);
  }
  if (random_.chance(0.5)) options.habits.most_moved = random_.pick({272U << 10, 384U << 10, 640U << 10, 768U << 10});
}

void Scene::set(GatewaySetup& setup) {
  if (kind_ == Kind::crossing) setup.shard.memory = static_cast<std::uint64_t>(random_.spread(4 << 20, 8 << 20));
  set(setup.targets.front());
  if (kind_ == Kind::names) add_names(setup);
}

void Scene::set(GatewaySetup::Target& target) {
  initiator::SessionSettings& session = target.settings;
  switch (kind_) {
    case Kind::patience:
      for (bridge::ExportConfig& each : target.exports) each.hold_timeout = proto::kNever;
      break;
    case Kind::deadly:
      for (bridge::ExportConfig& each : target.exports) {
        each.hold_timeout = proto::kNever;
        each.retries = 5;
      }
      break;
    case Kind::quarrel:
      // Long before that others were heard.
      session.command_timeout = random_.between(6, 15) * kSecond;
      session.slow_command_timeout = session.command_timeout * random_.between(1, 3);
      break;
    case Kind::long_hang:
      session.queue_depth = std::max<std::uint16_t>(session.queue_depth, 32);
      session.command_timeout = random_.spread(500, 3000) * kMillisecond;
      session.slow_command_timeout = session.command_timeout * random_.between(1, 3);
      for (bridge::ExportConfig& each : target.exports) each.queue_depth = std::max(each.queue_depth, 32U);
      break;
    case Kind::away:
      make_hasty(target);
      break;
    case Kind::crossing:
    case Kind::gaps:
      session.connections = static_cast<std::uint16_t>(random_.between(2, 4));
      if (kind_ == Kind::crossing)
        session.max_recv_data_segment_length = static_cast<std::uint32_t>(random_.spread(64 << 10, 256 << 10));
      session.nop_interval = kind_ == Kind::gaps ? 0 : random_.spread(500, 5'000) * kMillisecond;
      break;
    default:
      break;
  }
}

void Scene::set(ClientHabits& habits, bool there) {
  if (kind_ == Kind::away || kind_ == Kind::crossing || kind_ == Kind::gaps) return ask_for_much(habits);
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
  if (kind_ == Kind::long_hang) habits.depth = static_cast<std::uint32_t>(random_.between(16, 32));
  if (kind_ != Kind::caches || random_.chance(0.3)) return;
  habits.depth = static_cast<std::uint32_t>(random_.spread(1, 8));
  habits.reads = 0.2;
  habits.writes = random_.chance(0.5) ? 0.2 : 0.4;
  if (random_.chance(0.5)) habits.fua = 0.7;
  habits.most = 64 << 10;
}

}  // namespace nbdgw::sim
