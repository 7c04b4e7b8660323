#include "gateway/shard/session_states.hpp"

#include <fmt/format.h>

#include <utility>

namespace nbdgw::shard {

using bridge::ExportState;
using initiator::SessionEvent;
using Kind = StateEvent::Kind;

namespace {

/// What becomes of requests meanwhile.
std::string hold_text(std::optional<proto::Micros> hold) {
  if (!hold) return {};
  if (*hold == proto::kNever) return "; requests are held until it is back";
  if (*hold == 0) return "; requests fail until it is back";
  return fmt::format("; requests are held until it is back, for {} at most, then they fail", lasted(*hold));
}

/// A wait that nobody has noticed needs no words.
constexpr proto::Micros kNoticed = proto::kSecond;

}  // namespace

bool SessionStates::on_event(const SessionEvent& event, std::optional<proto::Micros> hold, proto::Micros now) {
  if (aside_) return false;
  switch (event.kind) {
    case SessionEvent::Kind::logged_in:
      on_login(event, now);
      return true;
    case SessionEvent::Kind::lost:
      on_loss(event, hold, now);
      return true;
    case SessionEvent::Kind::login_failed:
      if (std::exchange(failing_, true)) return false;
      if (!was_up_) since_ = session_.turned_at();
      tell({.kind = Kind::login_failing, .text = "no session yet: " + event.text});
      return true;
    default:
      return false;
  }
}

void SessionStates::on_login(const SessionEvent& event, proto::Micros now) {
  StateEvent told{.kind = was_up_ ? Kind::session_back : Kind::session_up, .text = event.text};
  if (was_up_ || failing_) {
    told.duration = now - since_;
    told.text += fmt::format("; there was no session for {}", lasted(*told.duration));
  }
  was_up_ = true;
  failing_ = false;
  since_ = now;
  if (stolen_at_ != proto::kNever) ours_at_ = now + kOursAgain;
  tell(std::move(told));
}

void SessionStates::on_loss(const SessionEvent& event, std::optional<proto::Micros> hold, proto::Micros now) {
  StateEvent told{.kind = Kind::session_lost, .text = "session lost: " + event.text + hold_text(hold)};
  told.duration = now - since_;
  told.text += fmt::format("; it was there for {}", lasted(*told.duration));
  since_ = now;
  ours_at_ = proto::kNever;
  tell(std::move(told));
  if (!event.stolen || stolen_at_ != proto::kNever) return;
  stolen_at_ = now;
  tell({.kind = Kind::session_stolen,
        .text = "the session may be another one's: the target ends ours again and again, soon after the login, as it "
                "does when a second gateway or another initiator has the name " +
                session_.settings().initiator_name});
}

void SessionStates::on_deadline(proto::Micros now) {
  if (now < ours_at_) return;
  ours_at_ = proto::kNever;
  const proto::Micros lasting = now - std::exchange(stolen_at_, proto::kNever);
  tell({.kind = Kind::session_ours,
        .text = fmt::format("the session is ours alone again: for {} it was ended soon after each login",
                            lasted(lasting)),
        .duration = lasting});
}

void SessionStates::look_at_climb() {
  const initiator::Escalation::Climb* const climb = session_.escalation().current();
  if (climb == nullptr || aside_) return;
  if (climb->started_at == climb_since_ && climb->rung == rung_ && climb->itt == itt_) return;
  climb_since_ = climb->started_at;
  rung_ = climb->rung;
  itt_ = climb->itt;
  events_.add(session_.settings().label, RungBegun{{.tsih = session_.tsih(),
                                                    .cid = climb->cid,
                                                    .lun = climb->lun,
                                                    .rung = climb->rung,
                                                    .scope = climb->scope,
                                                    .request_id = climb->request_id,
                                                    .cause = climb->cause}});
}

void SessionStates::on_export(const bridge::Export& exported, ExportSeen& seen, proto::Micros now) {
  const nbd::ExportInfo& info = exported.info();
  StateEvent told;
  switch (exported.state()) {
    case ExportState::probing:
      return;
    case ExportState::refused:  // CacheEvent::Kind::refused
      break;
    case ExportState::online:
      told = {.kind = Kind::export_online,
              .text = fmt::format("online, {} bytes, preferred block {}{}", info.size, info.preferred_block,
                                  info.read_only ? ", read-only" : "")};
      if (seen.told || now - seen.since >= kNoticed) {
        told.duration = now - seen.since;
        told.text += fmt::format("; it was not for {}", lasted(*told.duration));
      }
      break;
    case ExportState::offline:
      if (session_.state() == initiator::SessionState::terminated) return;  // at shutdown that is no news
      told = {.kind = Kind::export_offline, .text = "offline: " + exported.status().reason};
      if (seen.told == ExportState::online) {
        told.duration = now - seen.since;
        told.text += fmt::format("; it was online for {}", lasted(*told.duration));
      }
      break;
  }
  if (seen.told == exported.state()) return;
  if (exported.state() != ExportState::refused) events_.add(session_.settings().label, info.name, told);
  seen.told = exported.state();
  seen.since = now;
}

void SessionStates::tell(StateEvent event) {
  events_.add(session_.settings().label, {}, event);
}

}  // namespace nbdgw::shard
