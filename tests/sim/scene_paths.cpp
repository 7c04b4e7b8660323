// Worlds about commands and data that are on their way when their session, or a function, ends them.
#include <algorithm>

#include "tests/sim/scene.hpp"

namespace nbdgw::sim {

using proto::kMillisecond;

void Scene::set(LinkHabits& links) {
  switch (kind_) {
    case Kind::away:
      links.unread_stays = true;
      links.room = std::max<std::size_t>(links.room, 1 << 20);  // for what a socket keeps that is given up
      break;
    case Kind::refusals:
    case Kind::crossing:
      links.pace = random_.spread(2000, 20'000);  // 33 to 3 MB/s
      if (stalls_) links.pace /= 8;
      links.piece = static_cast<std::size_t>(random_.spread(1000, 16 << 10));
      break;
    case Kind::gaps:
      links.uneven = random_.spread(5, 30) * kMillisecond;
      break;
    default:
      break;
  }
}

void Scene::ask_for_rungs(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd) {
  if (kind_ == Kind::crossing) trouble.lost_links = random_.spread(3, 50) * kMillisecond;
  trouble.restarts = acts.remakes = acts.removes = acts.tunes = 0;
  acts.rungs = random_.spread(5, 100) * kMillisecond;
  if (!stalls_) return;
  // So that many are at work when one comes.
  trouble.lost_links = trouble.stalled_links = acts.drains = 0;
  acts.rungs *= 5;
  crowd.hosts.clear();
}

/// Other trouble would only come between.
void Scene::clear_most(TargetFaults& faults) {
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (i >= kFirstTimedFault || random_.chance(0.8)) faults.rate[i] = 0;
  }
}

/// Nobody waits for as long as a controller is away, and others do its work meanwhile.
void Scene::send_away(TargetOptions& options) {
  clear_most(options.faults);
  if (options.controllers.size() == 1) add_controller(options);
  options.habits.others_in_standby = false;
  options.habits.frozen_paths = data_stays_;
  TargetFaults& faults = options.faults;
  faults.shortest_outage = random_.spread(1000, 4000) * kMillisecond;
  faults.longest_outage = faults.shortest_outage + random_.spread(1000, 8000) * kMillisecond;
  faults.set_mean(Fault::controller_frozen, random_.spread(3000, 15'000) * kMillisecond);
  faults[Fault::slow_command] = 0.2;
  faults.longest_delay = random_.spread(1, 500) * kMillisecond;
  if (random_.chance(0.5) || data_stays_) faults[Fault::function_late_data] = 1;
  if (!data_stays_) options.habits.instant = 0.8;
  if (random_.chance(0.5)) faults[Fault::outlives_session] = 0.5;
}

void Scene::make_hasty(GatewaySetup::Target& target) {
  initiator::SessionSettings& session = target.settings;
  session.command_timeout = random_.spread(500, 1500) * kMillisecond;
  session.slow_command_timeout = 2 * session.command_timeout;
  session.nop_interval = random_.spread(200, 500) * kMillisecond;
  session.nop_timeout = random_.spread(200, 500) * kMillisecond;
  session.login_timeout = random_.spread(500, 1500) * kMillisecond;
  session.abort_timeout = session.lu_reset_timeout = session.target_reset_timeout =
      random_.spread(300, 1000) * kMillisecond;
  if (!data_stays_) {
    session.immediate_data = true;
    session.initial_r2t = false;
  }
  const bool hasty = !data_stays_;
  for (bridge::ExportConfig& each : target.exports) {
    each.hold_timeout = hasty ? random_.between(1, 3) * proto::kSecond : proto::kNever;
  }
}

/// A reset finds commands at work, and what they come to is on its way when the reset is answered.
void Scene::end_what_sends(TargetOptions& options) {
  clear_most(options.faults);
  options.habits.answers_first = true;
  options.habits.data_in_length = 0;
  options.habits.instant = random_.pick({0.0, 0.3});
  options.habits.slowest = random_.spread(500, 20'000);
  options.habits.quickest = options.habits.slowest / 10;
  if (!stalls_) return;
  options.habits.instant = 0;
  options.habits.slowest = random_.spread(20, 100) * kMillisecond;
  options.habits.quickest = options.habits.slowest / 10;
  options.habits.window = std::max(options.habits.window, 16U);
  options.faults.shortest_outage = 200 * kMillisecond;
  options.faults.longest_outage = random_.spread(500, 3000) * kMillisecond;
  options.faults.longest_delay = random_.spread(1, 10) * kMillisecond;
  options.faults[Fault::ended_answer_stalls] = 0.4;
}

/// One controller at a time is active, and which one changes.
void Scene::leave_some_idle(TargetOptions& options) {
  options.faults = TargetFaults{};
  if (options.controllers.size() == 1) add_controller(options);
  options.have_two_luns();
  options.habits.others_in_standby = true;
  options.habits.redirects_in_circles = false;
  options.faults.shortest_outage = 2 * proto::kSecond;
  options.faults.longest_outage = random_.spread(5, 60) * proto::kSecond;
  options.faults.set_mean(Fault::failover, random_.spread(300, 5000) * kMillisecond);
}

/// What is behind a missing command no function finds.
void Scene::leave_gaps(TargetOptions& options) {
  clear_most(options.faults);
  options.habits.parked_survive = true;
  options.habits.instant = random_.pick({0.0, 0.1});
}

void Scene::ask_for_much(ClientHabits& habits) {
  if (kind_ == Kind::gaps) {
    habits.depth = static_cast<std::uint32_t>(random_.between(1, 3));
    habits.reads = 0.2;
    habits.writes = 0.7;
    habits.most = 64 << 10;
    return;
  }
  habits.depth = std::max(habits.depth, static_cast<std::uint32_t>(random_.between(4, 16)));
  // Else all would be asked for before anything is away.
  if (kind_ == Kind::away) habits.think = random_.spread(200, 1500) * kMillisecond;
  habits.reads = kind_ == Kind::crossing ? 0.6 : 0.2;
  habits.writes = kind_ == Kind::crossing ? 0.3 : 0.7;
  habits.large = random_.pick({0.3, 0.7});
  if (kind_ != Kind::away) return;
  habits.reads = 0.1;
  habits.writes = 0.85;
  if (data_stays_) habits.large = 0.8;
}

}  // namespace nbdgw::sim
