#include "tests/sim/target/mischief.hpp"

#include <algorithm>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {

void Mischief::begin() {
  const auto& rate = array_.options.faults.rate;
  const auto from = rate.begin() + static_cast<std::ptrdiff_t>(kFirstTimedFault);
  if (std::ranges::any_of(from, rate.end(), [](double each) { return each > 0; })) {
    array_.after(array_.faults.tick(), [this] { tick(); });
  }
}

bool Mischief::draws(Fault fault) noexcept {
  return array_.faults.strikes(fault);
}

void Mischief::tick() {
  if (array_.faults.healed()) return;
  // None of it takes away or adds to what is walked through here.
  for (const auto& connection : array_.connections) {
    if (connection->in_full_feature()) trouble(*connection);
  }
  for (const auto& session : array_.sessions) {
    if (!session->ended()) trouble(*session);
  }
  for (const auto& unit : array_.units.all()) trouble(*unit);
  for (const auto& controller : array_.controllers) trouble(*controller);
  if (draws(Fault::failover)) fail_over();
  if (draws(Fault::power_loss)) lose_power();
  array_.after(array_.faults.tick(), [this] { tick(); });
}

void Mischief::trouble(TargetConnection& connection) {
  if (draws(Fault::ping)) connection.ping();
  if (draws(Fault::half_closed)) connection.half_close();
  if (draws(Fault::connection_stalls)) {
    connection.stall(true);
    array_.after(array_.faults.outage(Fault::connection_stalls), [this, number = connection.number()] {
      if (TargetConnection* const stalled = array_.find_connection(number)) stalled->stall(false);
    });
  }
  if (draws(Fault::connection_dropped)) return connection.drop(Cut::close);
  if (draws(Fault::connection_reset)) return connection.drop(Cut::reset);
  if (draws(Fault::connection_vanishes)) return connection.drop(Cut::vanish);
}

void Mischief::trouble(TargetSession& session) {
  if (!session.window_frozen() && draws(Fault::window_frozen)) {
    session.freeze_window(true);
    array_.after(array_.faults.outage(Fault::window_frozen), [this, tsih = session.tsih()] {
      TargetSession* const frozen = array_.find_session(tsih);
      if (frozen != nullptr && frozen->window_frozen()) frozen->freeze_window(false);
    });
  }
  announce(session);
  if (!session.ended() && draws(Fault::session_stolen)) {
    array_.end_session(session, array_.habits().closes_hard ? Cut::reset : Cut::close);
  }
}

void Mischief::announce(TargetSession& session) {
  struct Announcement {
    Fault fault;
    std::uint8_t event;
  };
  constexpr Announcement kAnnouncements[] = {{Fault::vendor_event, pdu::kVendorEvent},
                                             {Fault::logout_requested, pdu::kLogoutRequested},
                                             {Fault::parameters_requested, pdu::kNegotiate},
                                             {Fault::drop_announced, pdu::kDropConnection},
                                             {Fault::session_drop_announced, pdu::kDropSession}};
  for (const auto& [fault, event] : kAnnouncements) {
    const auto& connections = session.connections();
    if (connections.empty() || !draws(fault)) continue;
    Random& random = array_.faults.random(fault);
    say(*connections[random.below(connections.size())], event, random);
  }
}

/// The event, and what follows when its time is over (RFC 7143 section 11.9.1).
void Mischief::say(TargetConnection& connection, std::uint8_t event, Random& random) {
  if (event == pdu::kVendorEvent) return connection.async(event);
  const auto seconds = static_cast<std::uint32_t>(random.between(0, 3));
  const bool asks = event == pdu::kLogoutRequested || event == pdu::kNegotiate;
  if (asks) {
    connection.async(event, 0, 0, 3 + seconds);
  } else {
    connection.async(event, connection.cid(), random.chance(0.5) ? seconds : 0, 0);
  }
  const Micros delay = asks ? (3 + seconds) * proto::kSecond : random.between(0, 1000);
  array_.after(delay, [this, event, number = connection.number()] {
    TargetConnection* const late = array_.find_connection(number);
    if (late == nullptr || late->session() == nullptr) return;
    if (event == pdu::kDropSession) {
      array_.end_session(*late->session(), Cut::close);
    } else {
      late->drop(Cut::close);
    }
  });
}

void Mischief::trouble(Controller& controller) {
  if (!controller.is_down() && draws(Fault::controller_down)) {
    controller.go_down(array_.faults.random(Fault::controller_down).chance(0.5));
    array_.after(array_.faults.outage(Fault::controller_down), [&controller] { controller.come_up(); });
  }
  if (!controller.is_frozen() && !controller.is_down() && draws(Fault::controller_frozen)) {
    controller.freeze(true);
    array_.after(array_.faults.outage(Fault::controller_frozen), [&controller] {
      if (controller.is_frozen()) controller.freeze(false);
    });
  }
}

/// For a while the other controllers are the active ones; or, where all are, one is not.
void Mischief::fail_over() {
  if (failing_over_ || array_.controllers.size() < 2) return;
  failing_over_ = true;
  for (const auto& controller : array_.controllers) controller->set_access(AccessState::transitioning);
  const bool at_once = array_.faults.random(Fault::failover).chance(0.5);
  const Micros transition = at_once ? 0 : array_.faults.delay(Fault::failover);
  array_.after(transition, [this] {
    if (failing_over_) set_access(true);
  });
  array_.after(transition + array_.faults.outage(Fault::failover), [this] {
    if (failing_over_) set_access(false);
    failing_over_ = false;
  });
}

void Mischief::set_access(bool swapped) {
  for (const auto& controller : array_.controllers) {
    const bool first = controller->index() == 0;
    const bool active = swapped ? !first : first || !array_.habits().others_in_standby;
    const bool standby = array_.faults.random(Fault::failover).chance(0.8);
    const AccessState idle = standby ? AccessState::standby : AccessState::unavailable;
    controller->set_access(active ? AccessState::active : idle);
  }
  for (const auto& unit : array_.units.all()) unit->raise(scsi::kAccessStateChanged);
}

/// With the connections, or of the disks alone.
void Mischief::lose_power() {
  Random& random = array_.faults.random(Fault::power_loss);
  array_.executor.end_everything();
  // Where it is told as logins and resets are, nobody can be sure of it.
  const bool for_sure = !array_.habits().plain_power_on;
  for (const auto& medium : array_.media) medium->lose_power(random, array_.now(), for_sure);
  if (random.chance(0.7)) {
    const Cut cut = random.chance(0.5) ? Cut::reset : Cut::vanish;
    for (const auto& session : array_.sessions) array_.end_session(*session, cut);
    for (const auto& connection : array_.connections) connection->drop(cut);
  }
  for (const auto& unit : array_.units.all()) unit->power_lost(array_.now(), array_.habits().plain_power_on);
}

void Mischief::heal() {
  for (const auto& controller : array_.controllers) {
    controller->come_up();
    if (controller->is_frozen()) controller->freeze(false);
  }
  if (failing_over_) {
    failing_over_ = false;
    set_access(false);
  }
  for (const auto& unit : array_.units.all()) {
    bring_home(*unit);
    unit->set_identity_readable(true);
    if (unit->write_protected()) {
      unit->set_write_protected(false);
      unit->raise(scsi::kModeChanged);
    }
    if (unit->cure(LogicalUnit::kOnlyTime)) array_.executor.on_unit_cured(*unit);
  }
  for (const auto& session : array_.sessions) {
    if (!session->ended() && session->window_frozen()) session->freeze_window(false);
  }
  for (const auto& connection : array_.connections) {
    connection->stall(false);
    // A login that hangs, and a connection that should have been closed long ago.
    if (connection->session() == nullptr || connection->leaving()) connection->close_side();
  }
}

}  // namespace nbdgw::sim
