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
constexpr std::uint64_t kMoreKinds = 0x6d6f7265;
constexpr std::uint64_t kLongPings = 0x70696e6773;

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
    scene.leavers_ = Random(seed ^ kLeavers).chance(0.3);
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
  if (other < 13) return {Kind::refusals, later};
  Random more(seed ^ kMoreKinds);
  const std::uint64_t another = more.below(100);
  if (another < 4) return {Kind::lost_hosts, more};
  if (another < 10) return {Kind::by_hand, more};
  if (another < 16) return {Kind::idle, more};
  if (another < 28) {
    Scene scene(Kind::crossing, more);
    scene.stalls_ = true;
    return scene;
  }
  return {Kind::none, random};
}

void Scene::set(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd) {
  switch (kind_) {
    case Kind::none:
      break;
    case Kind::away:
      data_stays_ = random_.chance(0.5);
      if (data_stays_) break;
      // What is answered early is so by the session that has lost it.
      trouble.restarts = trouble.lost_links = 0;
      acts = {};
      break;
    case Kind::crossing:
    case Kind::gaps:
      ask_for_rungs(trouble, acts, crowd);
      break;
    case Kind::patience:
    case Kind::right_disk:
      // Whoever is started anew takes any disk, and sends clients away.
      trouble.restarts = acts.remakes = acts.removes = 0;
      if (kind_ == Kind::patience) acts.tunes = 0;
      break;
    case Kind::caches:
      make_anew(trouble, acts);
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
    case Kind::refusals:
      trouble.lost_links = trouble.stalled_links = 0;
      trouble.restarts = random_.spread(20, 300) * kMillisecond;
      acts = {};
      crowd.hosts.assign(static_cast<std::size_t>(random_.between(1, 3)),
                         {.exported = {},
                          .manner = RudeHabits::Manner::asks_nonsense,
                          .links = static_cast<std::uint32_t>(random_.between(1, 3)),
                          .stays = proto::kNever / 4,
                          .large = true});
      break;
    case Kind::lost_hosts:
      trouble.lost_links = random_.spread(50, 500) * kMillisecond;
      trouble.stalled_links = trouble.restarts = 0;
      acts = {};
      crowd = {};
      crowd.memory = static_cast<std::uint64_t>(random_.spread(3 << 20, 4 << 20));
      break;
    case Kind::by_hand:
      trouble.restarts = 0;
      acts = {};
      acts.session_resets = random_.spread(500, 2000) * kMillisecond;
      break;
    case Kind::idle:
      trouble.restarts = 0;
      acts = {};
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
    case Kind::refusals:
      options.faults = TargetFaults{};
      break;
    case Kind::deadly:
      make_deadly(options);
      break;
    case Kind::lost_hosts:
      take_time(options);
      break;
    case Kind::by_hand:
      let_units_wait(options);
      break;
    case Kind::idle:
      leave_some_idle(options);
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
    case Kind::by_hand:
      session.command_timeout = session.slow_command_timeout = 60 * kSecond;
      for (bridge::ExportConfig& each : target.exports) {
        each.hold_timeout = proto::kNever;
        each.retries = static_cast<std::uint8_t>(random_.between(0, 2));
      }
      break;
    case Kind::idle:
      for (bridge::ExportConfig& each : target.exports) each.hold_timeout = proto::kNever;
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
      make_pings_long(session);
      break;
    case Kind::away:
      make_hasty(target);
      break;
    case Kind::crossing:
    case Kind::gaps:
      session.connections = static_cast<std::uint16_t>(stalls_ ? 4 : random_.between(2, 4));
      if (kind_ == Kind::crossing)
        session.max_recv_data_segment_length = static_cast<std::uint32_t>(random_.spread(64 << 10, 256 << 10));
      session.nop_interval = kind_ == Kind::gaps ? 0 : random_.spread(500, 5'000) * kMillisecond;
      if (stalls_) outlast_stalls(session);
      break;
    default:
      break;
  }
}

void Scene::outlast_stalls(initiator::SessionSettings& session) {
  session.nop_timeout = session.abort_timeout = session.lu_reset_timeout = session.target_reset_timeout =
      10 * kSecond;
  session.command_timeout = session.slow_command_timeout = 20 * kSecond;
}

/// So that it is seen whether an answered one is waited for any longer.
void Scene::make_pings_long(initiator::SessionSettings& session) {
  Random own(Random(random_).next() ^ kLongPings);
  if (!own.chance(0.5)) return;
  session.nop_timeout = own.between(10, 20) * kSecond;
  session.nop_interval = own.between(1, 5) * kSecond;
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
  if (kind_ == Kind::lost_hosts && there) {
    habits.depth = static_cast<std::uint32_t>(random_.between(8, 32));
    habits.links = static_cast<std::uint32_t>(random_.between(2, 4));
    habits.reads = 0.1;
    habits.writes = 0.8;
    habits.large = 0.5;
    habits.think = 0;
  }
  if (kind_ != Kind::caches || random_.chance(0.3)) return;
  habits.depth = static_cast<std::uint32_t>(random_.spread(1, 8));
  habits.reads = 0.2;
  habits.writes = random_.chance(0.5) ? 0.2 : 0.4;
  if (random_.chance(0.5)) habits.fua = 0.7;
  habits.most = 64 << 10;
  if (!leavers_) return;
  habits.links = 1;
  habits.reads = 0.4;
  habits.writes = 0.52;
}

}  // namespace nbdgw::sim
