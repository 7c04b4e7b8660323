#include "gateway/shard/event_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"

namespace nbdgw::shard {

using bridge::CacheEvent;
using bridge::RequestFailure;
using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;

namespace {

net::log::Level level_of(const CacheEvent& event) {
  switch (event.kind) {
    case CacheEvent::Kind::confirmed:
    case CacheEvent::Kind::grown:
    case CacheEvent::Kind::hold_over:
      return net::log::Level::info;
    case CacheEvent::Kind::rescanned:
      return event.good ? net::log::Level::info : net::log::Level::warn;
    case CacheEvent::Kind::in_question:
    case CacheEvent::Kind::threshold:
    case CacheEvent::Kind::same_disk:
      return net::log::Level::warn;
    case CacheEvent::Kind::in_doubt:
    case CacheEvent::Kind::told:
    case CacheEvent::Kind::refused:
    case CacheEvent::Kind::hold_expired:
      break;
  }
  return net::log::Level::error;
}

/// What a client has asked for that it may not, or at the wrong time, is no trouble of ours.
net::log::Level level_of(const RequestFailure& event) {
  using proto::nbd::Error;
  return event.error == Error::eio || event.error == Error::enospc ? net::log::Level::error : net::log::Level::warn;
}

net::log::Level level_of(StateEvent::Kind kind) {
  using enum StateEvent::Kind;
  switch (kind) {
    case session_lost:
    case login_failing:
    case session_stolen:
    case export_offline:
    case clients_refused:
      return net::log::Level::warn;
    case listener_failing:
    case reload_refused:
      return net::log::Level::error;
    case session_up:
    case session_back:
    case session_ours:
    case export_online:
    case listener_open:
    case listener_closed:
    case listener_back:
    case drain_begun:
    case drain_ended:
    case reload_done:
    case stopping:
      break;
  }
  return net::log::Level::info;
}

/// What may change again and again with nobody at the wheel: the log tells some of it, and counts the rest.
bool comes_and_goes(StateEvent::Kind kind) noexcept {
  using enum StateEvent::Kind;
  switch (kind) {
    case session_up:
    case session_lost:
    case session_back:
    case login_failing:
    case session_stolen:
    case session_ours:
    case export_online:
    case export_offline:
    case listener_failing:
    case listener_back:
      return true;
    default:
      return false;
  }
}

/// Which ring it goes to.
std::size_t class_of(const EventRecord::Event& event) noexcept {
  static_assert(std::variant_size_v<EventRecord::Event> == EventLog::kClasses + 1, "the first two share a ring");
  return event.index() == 0 ? 0 : event.index() - 1;
}

std::string refusal_text(const Refusals::Told& told) {
  std::string why;
  switch (told.reason) {
    case Refusal::limit:
      why = "there are as many clients as may be (limits.connections)";
      break;
    case Refusal::open_files:
      why = "the limit of open files allows no more clients";
      break;
    case Refusal::drained:
      why = "the gateway is being drained and takes no new clients";
      break;
    case Refusal::closed:
      why = "it takes no new clients (drain or maint)";
      break;
    case Refusal::no_export:
      why = "there is no export of this name";
      break;
    case Refusal::offline:
      why = "it did not come online while the client waited (limits.handshake_timeout)";
      break;
  }
  std::string wanted;
  if (!told.exported.empty()) wanted = " that asked for export " + told.exported;
  if (told.over == 0) return fmt::format("client {}{} was turned away: {}", told.peer, wanted, why);
  return fmt::format("{} more client(s){} were turned away in {}, the latest {}: {}", told.count, wanted,
                     lasted(told.over), told.peer, why);
}

}  // namespace

void EventLog::add(const std::string& target, const RecoveryEvent& event) {
  const bool good_news = event.rung == Rung::relogin && event.outcome == RungOutcome::success;
  net::log::print({.target = target, .session = event.tsih},
                  good_news ? net::log::Level::info : net::log::Level::warn, "recovery: {}", describe(target, event));
  keep({.at = net::wall_now(), .target = target, .exported = {}, .event = event});
}

void EventLog::add(const std::string& target, const std::string& exported, const CacheEvent& event) {
  net::log::print({.exported = exported, .target = target}, level_of(event), "{}", describe(target, exported, event));
  keep({.at = net::wall_now(), .target = target, .exported = exported, .event = event});
}

void EventLog::add(const std::string& target, const RungBegun& event) {
  net::log::info({.target = target, .session = event.rung.tsih}, "{}", describe(target, event));
  keep({.at = net::wall_now(), .target = target, .exported = {}, .event = event});
}

void EventLog::add(const std::string& target, const std::string& exported, const RequestFailure& event) {
  net::log::print({.exported = exported, .target = target}, level_of(event), "{}", describe(target, exported, event));
  keep({.at = net::wall_now(), .target = target, .exported = exported, .event = event});
}

void EventLog::add(const std::string& target, const std::string& exported, const StateEvent& event) {
  const net::log::Subject subject{.exported = exported, .target = target};
  const std::string text = describe(target, exported, event);
  if (comes_and_goes(event.kind)) {
    net::log::changed(to_string(event.kind), subject, level_of(event.kind), "{}", text);
  } else {
    net::log::print(subject, level_of(event.kind), "{}", text);
  }
  keep({.at = net::wall_now(), .target = target, .exported = exported, .event = event});
}

void EventLog::client_refused(Refusal reason, const std::string& exported, const std::string& peer,
                              proto::Micros now) {
  Refusals::Told told;
  {
    const std::lock_guard lock(refusals_mutex_);
    // A name that is none of ours is the client's own, and may be anything.
    told = refusals_.note(reason, reason == Refusal::no_export ? net::log::quoted(exported) : exported, peer, now);
  }
  if (told.count > 0) tell(told);
}

void EventLog::tell_refusals(proto::Micros now, bool all) {
  std::vector<Refusals::Told> due;
  {
    const std::lock_guard lock(refusals_mutex_);
    due = refusals_.due(now, all);
  }
  for (const Refusals::Told& each : due) tell(each);
}

void EventLog::tell(const Refusals::Told& told) {
  StateEvent event{
      .kind = StateEvent::Kind::clients_refused, .text = refusal_text(told), .reason = to_string(told.reason)};
  event.count = told.count;
  if (told.over > 0) event.duration = told.over;
  // What a client makes up is no name of an export: it is in the text only.
  const std::string exported = told.reason == Refusal::no_export ? std::string() : told.exported;
  net::log::print({.exported = exported, .client = told.peer}, level_of(event.kind), "{}", event.text);
  keep({.at = net::wall_now(), .target = {}, .exported = exported, .event = std::move(event)});
}

void EventLog::on_listener(News news, const std::string& text, proto::Micros lasting) {
  StateEvent event{.text = text};
  switch (news) {
    case News::open:
      event.kind = StateEvent::Kind::listener_open;
      break;
    case News::closed:
      event.kind = StateEvent::Kind::listener_closed;
      break;
    case News::failing:
      event.kind = StateEvent::Kind::listener_failing;
      break;
    case News::back:
      event.kind = StateEvent::Kind::listener_back;
      event.text += "; for " + lasted(lasting) + " they were not";
      event.duration = lasting;
      break;
  }
  add({}, {}, event);
}

void EventLog::on_sent_away(bool lowered, const std::string& peer, proto::Micros now) {
  client_refused(lowered ? Refusal::open_files : Refusal::limit, {}, peer, now);
}

std::uint32_t EventLog::request_of(const EventRecord& record) noexcept {
  if (const auto* rung = std::get_if<RecoveryEvent>(&record.event)) return rung->request_id;
  if (const auto* unit = std::get_if<CacheEvent>(&record.event)) return unit->request_id;
  return 0;
}

void EventLog::observe(Observer observer) {
  const std::lock_guard lock(observer_mutex_);
  observer_ = std::move(observer);
}

void EventLog::keep(EventRecord record) {
  const std::lock_guard telling(observer_mutex_);  // records are told in their order
  {
    const std::lock_guard lock(mutex_);
    record.sequence = ++last_;
    std::deque<EventRecord>& ring = rings_[class_of(record.event)];
    if (ring.size() == kPerClass) ring.pop_front();
    ring.push_back(record);
  }
  if (observer_) observer_(record);
}

std::uint64_t EventLog::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::vector<EventRecord> EventLog::since(std::uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  std::vector<EventRecord> found;
  for (const std::deque<EventRecord>& ring : rings_) {
    const auto first = std::ranges::upper_bound(ring, sequence, {}, &EventRecord::sequence);
    found.insert(found.end(), first, ring.end());
  }
  std::ranges::sort(found, {}, &EventRecord::sequence);
  return found;
}

}  // namespace nbdgw::shard
