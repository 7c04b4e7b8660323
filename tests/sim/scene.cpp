#include "tests/sim/scene.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/checkers/patience_checker.hpp"

namespace nbdgw::sim {

using proto::kMillisecond;
using proto::kSecond;

namespace {

/// Makes of a seed that of the scenes about the ladder.
constexpr std::uint64_t kLadderScenes = 0x6c61646472;

}  // namespace

Scene Scene::draw(std::uint64_t seed) {
  Random random(seed ^ 0x5ce2e5);
  const std::uint64_t kind = random.below(100);
  if (kind < 6) return {Kind::patience, random};
  if (kind < 14) return {Kind::right_disk, random};
  if (kind < 22) return {Kind::caches, random};
  if (kind < 28) return {Kind::away, random};
  if (kind < 33) return {Kind::crossing, random};
  if (kind < 37) return {Kind::gaps, random};
  Random ladder(seed ^ kLadderScenes);
  const std::uint64_t other = ladder.below(100);
  if (other < 4) return {Kind::quarrel, ladder};
  if (other < 8) return {Kind::long_hang, ladder};
  return {Kind::none, random};
}

void Scene::set(TroubleHabits& trouble, OperatorHabits& acts) {
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
  for (std::size_t i = 0; i < kFaults; ++i) {
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
}

void Scene::lose_caches(TargetOptions& options) {
  for (MediumOptions& medium : options.media) {
    medium.write_cache = true;
    if (random_.chance(0.5)) medium.write_same = true;
    if (random_.chance(0.5)) medium.fua = true;
  }
  TargetFaults& faults = options.faults;
  // What has to do with other things would only come between.
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (random_.chance(0.7)) faults.rate[i] = 0;
  }
  faults.longest_outage = random_.spread(10, 3000) * kMillisecond;
  faults.set_mean(Fault::power_loss, random_.spread(30, 1000) * kMillisecond);
  if (random_.chance(0.3)) faults[Fault::synchronize_fails] = 0.2;
  options.habits.plain_power_on = plain_power_on_;
  if (!plain_power_on_) return;
  options.habits.login_attention = random_.chance(0.2);
  for (const Fault fault :
       {Fault::logout_requested, Fault::parameters_requested, Fault::drop_announced, Fault::session_drop_announced})
    faults[fault] = 0;
}

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

void Scene::set(GatewaySetup::Target& target) {
  initiator::SessionSettings& session = target.settings;
  switch (kind_) {
    case Kind::patience:
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

void Scene::set(ClientHabits& habits) {
  if (kind_ == Kind::away || kind_ == Kind::crossing || kind_ == Kind::gaps) return ask_for_much(habits);
  if (kind_ == Kind::right_disk && random_.chance(0.5)) {
    habits.depth = static_cast<std::uint32_t>(random_.between(1, 2));
    habits.think = random_.spread(10, 1000) * kMillisecond;
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
