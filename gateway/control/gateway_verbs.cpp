// What operators do to a gateway.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "gateway/control/gateway.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/view_parts.hpp"
#include "proto/assert.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::control {

using initiator::RecoveryRequest;
using initiator::Rung;
using initiator::Session;
using initiator::SessionState;

namespace {

bool is_about_a_lun(Rung rung) noexcept {
  return rung == Rung::abort_task_set || rung == Rung::clear_task_set || rung == Rung::lu_reset;
}

std::string lun_words(std::uint64_t lun) {
  const auto number = proto::scsi::decode_lun(lun);
  return number ? std::to_string(*number) : fmt::format("0x{:016x}", lun);
}

Verdict no_target(const std::string& name) {
  return {VerdictCode::not_found, "there is no target " + name + " in use", 0};
}

/// What is wrong with a request whatever the session does now, if anything.
std::optional<Verdict> objection(const RecoveryRequest& request, const std::string& target, bool lun_is_ours) {
  if (!initiator::can_be_asked_for(request)) {
    return Verdict{VerdictCode::invalid,
                   fmt::format("{} cannot be asked for, or not without a LUN", to_string(request.rung)), 0};
  }
  if (!is_about_a_lun(request.rung)) return std::nullopt;
  // Other LUNs of the target may well exist, and be other hosts' business.
  if (lun_is_ours) return std::nullopt;
  return Verdict{VerdictCode::not_found,
                 fmt::format("no export is on LUN {} of target {}", lun_words(request.lun), target), 0};
}

Verdict not_logged_in(const Session& session) {
  return {VerdictCode::wrong_state,
          fmt::format("the session with target {} is {}: {}", session.settings().label, to_string(session.state()),
                      session.trouble().empty() ? "it has no tasks and no connections" : session.trouble()),
          0};
}

/// What a rung would end: the tasks in its scope.
std::size_t tasks_hit(const RecoveryRequest& request, const Session& session) noexcept {
  std::size_t count = 0;
  for (const initiator::Task* task = session.running().front(); task != nullptr; task = task->list_next) {
    const bool hit = request.rung == Rung::abort_task
                         ? task->itt == request.itt
                         : !is_about_a_lun(request.rung) || task->command->lun == request.lun;
    if (hit) ++count;
  }
  return count;
}

Verdict begin(Session& session, const RecoveryRequest& request, bool dry_run) {
  if (session.state() != SessionState::logged_in) return not_logged_in(session);
  if (request.rung == Rung::abort_task && session.find_task(request.itt) == nullptr) {
    return {VerdictCode::not_found, fmt::format("no SCSI command runs under the tag 0x{:08x} any more", request.itt),
            0};
  }
  const std::size_t tasks = tasks_hit(request, session);
  const std::string what = fmt::format("{} for target {}, with {} task(s) in its scope now", to_string(request.rung),
                                       session.settings().label, tasks);
  if (!session.escalation().takes_requests()) {
    return {VerdictCode::busy, "too many rungs that were asked for wait for their turn; try again later", 0};
  }
  if (dry_run) return {VerdictCode::ok, what, 0};
  NBDGW_ASSERT(session.request_recovery(request), "it takes requests");
  return {VerdictCode::ok, what, request.id};
}

Verdict drop(Session& session, std::uint16_t cid, bool dry_run, proto::Micros now) {
  if (cid >= session.connection_count()) {
    return {VerdictCode::not_found,
            fmt::format("the session with target {} has no connection {}", session.settings().label, cid), 0};
  }
  if (session.state() != SessionState::logged_in) return not_logged_in(session);
  if (session.connection(cid).state() != initiator::ConnectionState::started) {
    return {VerdictCode::wrong_state,
            fmt::format("connection {} is {}", cid, to_string(session.connection(cid).state())), 0};
  }
  const std::string what = fmt::format(
      "connection {} to target {} is dropped, and so is its session, which logs in again; {} task(s) wait "
      "for that and are sent again",
      cid, session.settings().label, tasks_hit({.rung = Rung::session_reset}, session));
  if (!dry_run) NBDGW_ASSERT(session.drop_connection(cid, "by hand", now), "it is in full feature phase");
  return {VerdictCode::ok, what, 0};
}

Verdict begin_rescan(shard::SessionExport& slot, std::uint32_t id, bool dry_run, proto::Micros now) {
  const Session& session = slot.driver().session();
  if (session.state() != SessionState::logged_in) return not_logged_in(session);
  if (slot.exported().rescanning()) {
    return {VerdictCode::busy, "a rescan of export " + slot.name() + " is under way", 0};
  }
  const std::string what =
      fmt::format("LUN {} of target {} is asked anew what it is and how large, and {} request(s) wait meanwhile",
                  lun_words(slot.exported().unit().lun()), session.settings().label, slot.exported().in_flight());
  if (dry_run) return {VerdictCode::ok, what, 0};
  if (!slot.exported().rescan(id, now)) return not_logged_in(session);
  return {VerdictCode::ok, what, id};
}

/// Nothing: the client is not on this shard.
std::optional<Verdict> send_client_away(shard::Shard& shard, std::uint64_t id, bool dry_run, proto::Micros now) {
  shard::NbdClient* const client = shard.find_client(id);
  if (client == nullptr) return std::nullopt;
  std::string what = fmt::format("client {} ({}) finishes the {} request(s) that it has in flight and is sent away",
                                 id, client->peer(), client->engine().in_flight());
  if (!dry_run) client->send_away(shard::Shard::kSendAwayLimit, now);
  return Verdict{VerdictCode::ok, std::move(what), 0};
}

const char* meaning(shard::AdminState state) noexcept {
  switch (state) {
    case shard::AdminState::ready:
      return "takes new clients";
    case shard::AdminState::drain:
      return "takes no new clients; those attached go on";
    case shard::AdminState::maint:
      return "takes no new clients; those attached finish what is in flight and are sent away";
  }
  return "?";
}

}  // namespace

void Gateway::recover(std::string target, RecoveryRequest request, bool dry_run, OnVerdict done) {
  on_control([this, target = std::move(target), request, dry_run, done = std::move(done)]() mutable {
    const auto [worker, driver] = find_target(target);
    if (driver == nullptr) return done(no_target(target));
    if (auto wrong = objection(request, target, has_export_on(*driver, request.lun))) return done(std::move(*wrong));
    request.id = next_request();
    worker->shard.post([worker = worker, driver = driver, request, dry_run, done = std::move(done)](proto::Micros) {
      Verdict verdict = begin(driver->session(), request, dry_run);
      done(std::move(verdict));
    });
  });
}

void Gateway::drop_connection(std::string target, std::uint16_t cid, bool dry_run, OnVerdict done) {
  on_control([this, target = std::move(target), cid, dry_run, done = std::move(done)]() mutable {
    const auto [worker, driver] = find_target(target);
    if (driver == nullptr) return done(no_target(target));
    worker->shard.post([worker = worker, driver = driver, cid, dry_run, done = std::move(done)](proto::Micros now) {
      Verdict verdict = drop(driver->session(), cid, dry_run, now);
      done(std::move(verdict));
    });
  });
}

/// On the export's shard, before it changes.
void Gateway::tell_admin_state(shard::SessionExport& slot, shard::AdminState state, proto::Micros now) {
  const shard::AdminState before = slot.admin_state();
  if (before == state) return;
  shard::StateEvent event{.kind = shard::StateEvent::Kind::drain_begun, .text = meaning(state)};
  if (before == shard::AdminState::ready) {
    slot.set_closed_since(now);
  } else if (state == shard::AdminState::ready) {
    event.kind = shard::StateEvent::Kind::drain_ended;
    event.duration = now - slot.closed_since();
    event.text += fmt::format(" again; for {} it did not", shard::lasted(*event.duration));
  }
  events_.add(slot.driver().session().settings().label, slot.name(), event);
}

void Gateway::set_export_state(std::string name, shard::AdminState state, bool dry_run, OnVerdict done) {
  on_control([this, name = std::move(name), state, dry_run, done = std::move(done)]() mutable {
    const auto [worker, slot] = find_export(name);
    if (slot == nullptr) return done({VerdictCode::not_found, "there is no export " + name, 0});
    worker->shard.post(
        [this, worker = worker, slot = slot, state, dry_run, done = std::move(done)](proto::Micros now) {
          if (!dry_run) {
            tell_admin_state(*slot, state, now);
            worker->shard.set_admin_state(*slot, state, now);
          }
          done({VerdictCode::ok, fmt::format("export {} {}", slot->name(), meaning(state)), 0});
        });
  });
}

void Gateway::rescan(std::string name, bool dry_run, OnVerdict done) {
  on_control([this, name = std::move(name), dry_run, done = std::move(done)]() mutable {
    const auto [worker, slot] = find_export(name);
    if (slot == nullptr) return done({VerdictCode::not_found, "there is no export " + name, 0});
    const std::uint32_t id = next_request();
    worker->shard.post([worker = worker, slot = slot, id, dry_run, done = std::move(done)](proto::Micros now) {
      Verdict verdict = begin_rescan(*slot, id, dry_run, now);
      done(std::move(verdict));
    });
  });
}

void Gateway::tell_drain(bool on) {
  if (on) {
    drained_at_ = net::steady_now();
    return events_.add({}, {},
                       shard::StateEvent{.kind = shard::StateEvent::Kind::drain_begun,
                                         .text = "no new clients are taken, on any export; those attached go on"});
  }
  const proto::Micros lasting = net::steady_now() - drained_at_;
  events_.add({}, {},
              shard::StateEvent{
                  .kind = shard::StateEvent::Kind::drain_ended,
                  .text = fmt::format("new clients are taken again; for {} they were not", shard::lasted(lasting)),
                  .duration = lasting});
}

void Gateway::drain_clients(bool on, bool dry_run, OnVerdict done) {
  on_control([this, on, dry_run, done = std::move(done)]() mutable {
    const Verdict verdict{
        VerdictCode::ok,
        on ? "the gateway takes no new clients; those attached go on" : "the gateway takes new clients", 0};
    if (dry_run) return done(verdict);
    if (takes_clients_ == on) tell_drain(on);
    takes_clients_ = !on;
    ask_shards<bool>(
        [on](shard::Worker& worker, proto::Micros) {
          worker.shard.take_clients(!on);
          return true;
        },
        [verdict, done = std::move(done)](const auto&) { done(verdict); });
  });
}

void Gateway::disconnect_client(std::uint64_t id, bool dry_run, OnVerdict done) {
  on_control([this, id, dry_run, done = std::move(done)]() mutable {
    ask_shards<Verdict>([id, dry_run](shard::Worker& worker,
                                      proto::Micros now) { return send_client_away(worker.shard, id, dry_run, now); },
                        [id, done = std::move(done)](auto verdicts) {
                          for (auto& each : verdicts)
                            if (each) return done(*std::move(each));
                          done({VerdictCode::not_found, fmt::format("there is no client {} any more", id), 0});
                        });
  });
}

}  // namespace nbdgw::control
