#include "tests/sim/target/array.hpp"

#include <algorithm>

namespace nbdgw::sim {

Array::Array(Timeline& line, Random source, const TargetOptions& setup)
    : timeline(line),
      random(source),
      options(setup),
      faults(setup.faults, random.fork(), setup.observer),
      checker(setup.complaints),
      executor(*this),
      functions(*this),
      mischief(*this) {
  for (const MediumOptions& medium : options.media) {
    media.push_back(std::make_unique<Medium>(medium, options.observer));
  }
  for (const TargetOptions::Lun& lun : options.luns) {
    units.all().push_back(std::make_unique<LogicalUnit>(lun.number, *media[lun.medium]));
  }
  for (const ControllerOptions& each : options.controllers) {
    const auto index = static_cast<std::uint16_t>(controllers.size());
    controllers.push_back(std::make_unique<Controller>(*this, each, index));
    if (index > 0 && habits().others_in_standby) controllers.back()->set_access(AccessState::standby);
  }
  mischief.begin();
}

void Array::settle() {
  while (!unsent_.empty()) {
    flushing_.swap(unsent_);
    for (TargetConnection* connection : flushing_) connection->flush();
    flushing_.clear();
  }
  if (!std::exchange(cleaning_, false)) return;
  std::erase_if(connections, [](const auto& each) { return each->dead(); });
  std::erase_if(sessions, [](const auto& each) { return each->ended(); });
}

TargetConnection& Array::add_connection(Controller& controller, Line& line) {
  connections.push_back(std::make_unique<TargetConnection>(*this, controller, line, ++last_connection_));
  return *connections.back();
}

TargetConnection* Array::find_connection(std::uint32_t number) const noexcept {
  const auto found =
      std::ranges::find_if(connections, [number](const auto& each) { return each->number() == number; });
  return found == connections.end() || (*found)->dead() ? nullptr : found->get();
}

TargetSession* Array::find_session(std::uint16_t tsih) const noexcept {
  for (const auto& session : sessions) {
    if (session->tsih() == tsih && !session->ended()) return session.get();
  }
  return nullptr;
}

TargetSession* Array::find_session(const SessionIdentity& identity, const Controller& controller) const noexcept {
  for (const auto& session : sessions) {
    if (!session->ended() && session->identity() == identity && &session->controller() == &controller) {
      return session.get();
    }
  }
  return nullptr;
}

TargetSession& Array::open_session(Controller& controller, SessionIdentity identity, const SessionTerms& terms,
                                   std::uint32_t cmd_sn) {
  sessions.push_back(
      std::make_unique<TargetSession>(*this, controller, std::move(identity), terms, ++last_session_, cmd_sn));
  TargetSession& session = *sessions.back();
  for (const auto& unit : units.all()) {
    unit->on_login(session.number(), session.identity().initiator, cmd_sn, habits().login_attention);
    if (unit->cure(LogicalUnit::kCuredByLogin)) executor.on_unit_cured(*unit);
  }
  return session;
}

void Array::end_session(TargetSession& session, Cut cut) {
  if (session.ended()) return;
  session.set_ended();
  const std::vector<TargetConnection*> dropped = session.connections();
  for (TargetConnection* connection : dropped) connection->drop(cut);
  functions.on_session_lost(session);
  for (const auto& unit : units.all()) unit->on_session_end(session.number());
  wants_cleaning();
}

}  // namespace nbdgw::sim
