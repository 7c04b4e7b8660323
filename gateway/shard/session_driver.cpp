#include "gateway/shard/session_driver.hpp"

#include <algorithm>
#include <utility>

#include "gateway/net/log.hpp"
#include "gateway/shard/errand.hpp"
#include "gateway/shard/shard.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::shard {

using initiator::SessionEvent;
using initiator::SocketRequest;

namespace {

/// Tells the exports of that LUN whether there is one of them alone. Of that LUN only: there may be thousands of
/// others.
void note_shared(const std::vector<bridge::Export*>& exports, std::uint64_t lun) {
  const auto same = [lun](const bridge::Export* exported) { return exported->unit().lun() == lun; };
  const bool alone = std::ranges::count_if(exports, same) == 1;
  for (bridge::Export* exported : exports) {
    if (same(exported)) exported->set_alone(alone);
  }
}

}  // namespace

SessionDriver::SessionDriver(Shard& shard, net::Resolver& resolver, EventLog& events, initiator::Session& session,
                             bool aside)
    : shard_(shard),
      resolver_(resolver),
      events_(events),
      session_(session),
      states_(events, session, aside),
      sleep_(shard.slept()) {
  for (std::uint16_t i = 0; i < session.connection_count(); ++i) {
    links_.push_back(std::make_unique<Link>(shard.poller(), *this, i));
  }
  session.set_bell(&bell());
}

void SessionDriver::add_export(bridge::Export& exported, proto::Micros now) {
  exports_.push_back(&exported);
  capacity_rounds_.plan(exports_.size(), now);
  note_shared(exports_, exported.unit().lun());
  seen_.push_back({.state = exported.state(), .since = now});
  exported.set_bell(&bell());
  if (session_.state() != initiator::SessionState::logged_in) return;
  exported.on_session_at(session_.group());
  exported.on_session_up(0, now, bridge::Login::long_ago);
}

void SessionDriver::remove_export(bridge::Export& exported, proto::Micros now) {
  NBDGW_ASSERT(exported.idle(), "an export goes when nothing of it is with the session");
  const auto place = std::ranges::find(exports_, &exported);
  NBDGW_ASSERT(place != exports_.end(), "an export of this driver");
  exported.tell_failures(now);
  tell_events_of(exported, now);
  seen_.erase(seen_.begin() + (place - exports_.begin()));
  exports_.erase(place);
  exported.set_bell(nullptr);
  if (exports_.empty()) capacity_rounds_.plan(0, 0);
  note_shared(exports_, exported.unit().lun());
}

/// A target tells each change of a LUN to one command of the session: whoever has sent it passes it on.
void SessionDriver::spread_news(proto::Micros now) {
  for (bridge::Export* teller : exports_) {
    if (!teller->has_news()) continue;
    const bridge::UnitNews news = teller->take_news();
    for (bridge::Export* exported : exports_) {
      if (exported == teller) continue;
      if (news != bridge::UnitNews::inventory && exported->unit().lun() != teller->unit().lun()) continue;
      exported->on_unit_event("as export " + teller->info().name + " was told", now);
    }
  }
}

void SessionDriver::on_portal_socket(PortalSocket& socket, proto::Micros now) {
  if (socket.state() == PortalSocket::State::connected && links_[socket.index()]->told_connected) {
    receive(socket.index(), now);
  }
  bell().ring();
}

void SessionDriver::receive(std::uint16_t index, proto::Micros now) {
  PortalSocket& socket = links_[index]->socket;
  switch (socket.socket().receive(session_.connection(index), now)) {
    case net::Transfer::ended:
      socket.fail("closed by the target");
      break;
    case net::Transfer::failed:
      socket.fail(socket.socket().error_text());
      break;
    case net::Transfer::done:
    case net::Transfer::more:  // level-triggered: comes again
      heard_at_ = now;
      break;
    case net::Transfer::engine_full:  // the session has given the connection up, and asks for its close in this turn
      break;
  }
}

void SessionDriver::look_for_sleep(proto::Micros now) {
  sleep_look_at_ = now + kSleepLookInterval;
  const proto::Micros length = sleep_.take();
  if (length == 0) return;
  net::log::info(subject(), "target {}: this machine was asleep for {} s, in which the target may have been away",
                 session_.settings().label, length / proto::kSecond);
  session_.on_slept(length, now);
}

void SessionDriver::deliver(proto::Micros now) {
  if (now >= sleep_look_at_) look_for_sleep(now);
  settle_links(now);
  session_.deliver(now);  // before the exports are told of a loss or a login: what comes back with it goes first
  serve_events(now);
  serve_socket_requests(now);
  serve_events(now);
  spread_news(now);
  for (bridge::Export* exported : exports_) {
    exported->on_heard(heard_at_);
    exported->deliver(replies_, now);
  }
  tell_events(now);
  note_export_changes(now);
  if (session_.portals().has_others()) consider_leaving(now);
  if (!session_.may_want_errand()) return;
  if (const auto group = session_.take_errand(now)) Errand::send(shard_, resolver_, events_, *this, *group, now);
}

void SessionDriver::transmit(proto::Micros now) {
  session_.data_xmit(now);
  for (std::uint16_t i = 0; i < links_.size(); ++i) {
    PortalSocket& socket = links_[i]->socket;
    if (socket.state() != PortalSocket::State::connected || socket.failed() || !session_.connection(i).wants_tx()) {
      continue;
    }
    const net::Transfer result = socket.socket().send(session_.connection(i), now);
    if (result == net::Transfer::failed) socket.fail(socket.socket().error_text());
  }
}

/// What was recalled for news of this turn, commands for which there was no room before something was sent, and so
/// on.
bool SessionDriver::wants_turn() const noexcept {
  if (session_.wants_turn()) return true;
  for (const auto& link : links_) {
    if (wants_turn(*link)) return true;
  }
  for (std::size_t i = 0; i < exports_.size(); ++i) {
    if (exports_[i]->wants_turn() || exports_[i]->state() != seen_[i].state) return true;
  }
  return false;
}

/// Something for settle_links(), or bytes to be sent that the socket would take.
bool SessionDriver::wants_turn(const Link& link) const noexcept {
  const PortalSocket& socket = link.socket;
  if (socket.failed()) return true;
  if (socket.state() == PortalSocket::State::connected) {
    const initiator::Session& session = session_;
    return !link.told_connected || (session.connection(socket.index()).wants_tx() && !socket.socket().wants_write());
  }
  return socket.wants_lookup() || (socket.state() == PortalSocket::State::leaving && session_.stopping());
}

void SessionDriver::settle_links(proto::Micros now) {
  for (const auto& link : links_) {
    // In every turn, for every connection.
    const bool connected = link->socket.state() == PortalSocket::State::connected && !link->socket.failed();
    if (connected && link->told_connected) continue;
    initiator::Connection& connection = session_.connection(link->socket.index());
    look_up(link->socket.index());
    if (link->socket.state() == PortalSocket::State::leaving) {
      const proto::Micros check = link->socket.next_deadline();
      if (!session_.stopping() && !link->socket.left(now)) {  // at the end nobody comes after
        if (link->socket.next_deadline() != check) {
          net::log::warn(
              subject(),
              "target {}: it is there, but does not close connection {} of the session that was lost, as if it "
              "were at work for it; the next login waits for that, {} s at most",
              session_.settings().label, link->socket.index(), kGoodbyeAnswered / proto::kSecond);
        }
        continue;
      }
      session_.stopping() ? link->socket.close_at_the_end() : link->socket.close();
      connection.on_disconnected("closed", now);
    } else if (link->socket.failed()) {
      const std::string why = link->socket.failure();
      link->socket.close();
      link->told_connected = false;
      connection.on_disconnected(why, now);
    } else if (connected) {
      link->told_connected = true;
      connection.on_connected(now, link->socket.address(), link->socket.portal());
    }
  }
}

void SessionDriver::serve_socket_requests(proto::Micros now) {
  if (!session_.has_socket_requests()) return;
  SocketRequest request;
  while (session_.next_socket_request(request)) {
    Link& link = *links_[request.connection];
    link.told_connected = false;
    if (request.kind == SocketRequest::Kind::leave && link.socket.leave(request.patient, now)) continue;
    if (request.kind != SocketRequest::Kind::connect) {
      link.socket.close();
      session_.connection(request.connection).on_disconnected("closed", now);
      continue;
    }
    look_for_sleep(now);  // the session is told how long it was lost when it is there again
    std::vector<initiator::Portal> portals = std::move(request.alternates);
    portals.insert(portals.begin(), request.portal);
    link.socket.connect(std::move(portals), now, request.address);
    look_up(request.connection);
  }
}

void SessionDriver::look_up(std::uint16_t index) {
  PortalSocket& socket = links_[index]->socket;
  while (socket.wants_lookup()) look_up(index, *socket.take_lookup());
}

void SessionDriver::look_up(std::uint16_t index, const PortalSocket::Lookup& lookup) {
  resolver_.resolve(lookup.host, lookup.port,
                    [&shard = shard_, weak = std::weak_ptr(self_), index, lookup](std::vector<net::Address> addresses,
                                                                                  std::string error) {
                      shard.post([weak, index, lookup, addresses = std::move(addresses),
                                  error = std::move(error)](proto::Micros now) {
                        // Drivers go on this thread, so one that is there now is there until the end of the call.
                        const std::shared_ptr<SessionDriver> driver = weak.lock();
                        if (driver == nullptr) return;
                        driver->links_[index]->socket.on_resolved(lookup, addresses, error, now);
                        driver->bell().ring();
                      });
                    });
}

void SessionDriver::serve_events(proto::Micros now) {
  if (!session_.has_events()) return;
  SessionEvent event;
  while (session_.next_event(event)) {
    const bool held = !exports_.empty();
    const auto hold = held ? std::optional(exports_.front()->config().hold_timeout) : std::nullopt;
    const bool told = states_.on_event(event, hold, now);
    log(event, told);
    serve(event, now);
  }
}

void SessionDriver::serve(const SessionEvent& event, proto::Micros now) {
  switch (event.kind) {
    case SessionEvent::Kind::logged_in:
      for (bridge::Export* exported : exports_) {
        exported->on_session_at(session_.group());
        exported->on_session_up(event.outage, now,
                                event.own_doing ? bridge::Login::after_own : bridge::Login::after_loss);
      }
      return;
    case SessionEvent::Kind::unit_event:
      for (bridge::Export* exported : exports_) {
        const bool all = event.lun == initiator::RecoveryEvent::kNoLun;
        if (all || event.lun == exported->unit().lun()) exported->on_unit_event(event.text, now);
      }
      return;
    case SessionEvent::Kind::unit_answer:
      for (bridge::Export* exported : exports_) {
        if (event.lun == exported->unit().lun()) exported->on_unit_answer(*event.answer, now);
      }
      return;
    case SessionEvent::Kind::unit_reset:
      for (bridge::Export* exported : exports_) {
        const bool whole_target = event.lun == initiator::RecoveryEvent::kNoLun;
        if (whole_target || event.lun == exported->unit().lun()) exported->on_unit_reset(now);
      }
      return;
    case SessionEvent::Kind::lost:
    case SessionEvent::Kind::login_failed:
    case SessionEvent::Kind::terminated:
      for (bridge::Export* exported : exports_) exported->on_session_down(event.text, now);
      if (event.kind == SessionEvent::Kind::terminated) {
        for (bridge::Export* exported : exports_) exported->tell_failures(now);
      }
      shard_.exports_changed();
      return;
    case SessionEvent::Kind::connection_joined:
    case SessionEvent::Kind::notice:
      return;
  }
}

void SessionDriver::tell_events(proto::Micros now) {
  if (session_.has_recovery_events()) {
    initiator::RecoveryEvent rung;
    while (session_.next_recovery_event(rung)) events_.add(session_.settings().label, rung);
  }
  states_.look_at_climb();
  for (bridge::Export* exported : exports_) {
    if (exported->has_events() || exported->has_failures()) tell_events_of(*exported, now);
  }
}

void SessionDriver::tell_events_of(bridge::Export& exported, proto::Micros now) {
  const std::string& label = session_.settings().label;
  bridge::CacheEvent event;
  while (exported.next_event(event)) events_.add(label, exported.info().name, event);
  bridge::RequestFailure failure;
  while (exported.next_failure(failure, now)) events_.add(label, exported.info().name, failure);
}

void SessionDriver::note_export_changes(proto::Micros now) {
  bool changed = false;
  for (std::size_t i = 0; i < exports_.size(); ++i) {
    if (exports_[i]->state() == seen_[i].state) continue;
    changed = true;
    seen_[i].state = exports_[i]->state();
    states_.on_export(*exports_[i], seen_[i], now);
  }
  if (changed) shard_.exports_changed();
}

/// A port in standby, or a LUN that is mapped elsewhere: the next portal may do.
void SessionDriver::consider_leaving(proto::Micros now) {
  if (std::ranges::none_of(exports_, [](const bridge::Export* each) { return each->path_unusable(); })) return;
  if (NBDGW_MUTANT(passive_portal_kept)) return;
  // One that nobody uses does not notice that it cannot be used there, either, and would keep the others there.
  for (bridge::Export* exported : exports_) exported->ask_if_unheard(now);
  const std::string why = path_choice_.reason_to_leave(exports_, session_.portals().count(), now);
  if (!why.empty()) session_.leave_portal(why, now);
}

proto::Micros SessionDriver::next_deadline() const noexcept {
  proto::Micros least =
      std::min({session_.next_deadline(), capacity_rounds_.next_deadline(), states_.next_deadline()});
  for (const auto& link : links_) least = std::min(least, link->socket.next_deadline());
  for (const bridge::Export* exported : exports_) least = std::min(least, exported->next_deadline());
  return least;
}

void SessionDriver::on_deadline(proto::Micros now) {
  if (session_.next_deadline() <= now) session_.on_deadline(now);
  for (const auto& link : links_) {
    if (link->socket.next_deadline() <= now) link->socket.on_deadline(now);
  }
  for (bridge::Export* exported : exports_) {
    if (exported->next_deadline() <= now) exported->on_deadline(now);
  }
  if (capacity_rounds_.next_deadline() <= now) poll_a_capacity(now);
  states_.on_deadline(now);
}

void SessionDriver::poll_a_capacity(proto::Micros now) {
  // One at a time: a target that is slow to answer is not asked more. But nobody loses his turn, for an export in use
  // may ask its LUN often (Export::looks_first()).
  const auto asks = [](const bridge::Export* each) { return each->asks_online(); };
  if (std::ranges::any_of(exports_, asks)) return capacity_rounds_.postpone(now);
  exports_[capacity_rounds_.take(exports_.size(), now)]->poll_capacity(now);
}

void SessionDriver::begin_drain(proto::Micros) {
  for (bridge::Export* exported : exports_) exported->drain();
}

/// The session may have ended in this turn, or not at all in the time that it was given.
void SessionDriver::last_words(proto::Micros now) {
  session_.deliver(now);
  serve_events(now);
  for (bridge::Export* exported : exports_) exported->tell_failures(now);
  tell_events(now);
}

bool SessionDriver::idle() const noexcept {
  return std::ranges::all_of(exports_, [](const bridge::Export* exported) { return exported->in_flight() == 0; });
}

}  // namespace nbdgw::shard
