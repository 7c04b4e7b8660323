// How a shard comes to its end, and what it leaves for the next process.
#include <algorithm>

#include "gateway/net/log.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/shard.hpp"

namespace nbdgw::shard {

void Shard::cut_off_clients(proto::Micros now) {
  for (const auto& client : clients_) client->cut_off(now, "The gateway stops.");
}

void Shard::say_goodbye(NbdClient& client, proto::Micros now) {
  if (keep_clients_) {
    client.begin_handover(now);
  } else {
    client.begin_drain(now);
  }
}

std::size_t Shard::clients_at_work() const noexcept {
  return static_cast<std::size_t>(
      std::ranges::count_if(clients_, [](const auto& client) { return !client->parked(); }));
}

void Shard::begin_drain(proto::Micros limit, bool keep_clients, proto::Micros now) {
  if (stage_ != Stage::running) return;
  keep_clients_ = keep_clients;
  stage_ = Stage::draining;
  stage_deadline_ = now + limit;
  handshake_deadline_ = now + kHandshakeGrace;
  note_deadline(std::min(stage_deadline_, handshake_deadline_));
  for (Station* station : stations_) {
    station->begin_drain(now);
  }
  for (const auto& client : clients_) {
    say_goodbye(*client, now);
  }
}

/// Of a restart: requests that wait for a target do so in the next process, and so do, at last, those that the target
/// has and does not answer. `all`: time is up.
void Shard::pass_on_clients(bool all, proto::Micros now) {
  if (!keep_clients_) return;
  for (const auto& client : clients_) {
    ExportSlot* const slot = client->slot_;
    if (slot == nullptr || client->parked() || (!all && slot->station().has_path())) continue;
    if (client->pass_on(may_pass_on_, now)) ++passed_on_;
  }
}

void Shard::advance_drain(proto::Micros now) {
  if (now >= handshake_deadline_) {
    handshake_deadline_ = proto::kNever;
    for (const auto& client : clients_) {
      if (client->in_handshake()) client->cut_off(now, "The gateway is shutting down.");
    }
    send_off();
  }
  if (stage_ == Stage::draining) {
    pass_on_clients(now >= stage_deadline_, now);
    // What was passed on is no matter of this process any more.
    const bool idle = std::ranges::all_of(stations_, [this](const Station* station) {
      return station->idle() || (passed_on_ > 0 && !station->has_path());
    });
    const std::size_t at_work = clients_at_work();
    if (now < stage_deadline_ && !(idle && at_work == 0)) return;
    if (passed_on_ > 0)
      net::log::info({}, "{} clients are left to the next process with requests that are not answered", passed_on_);
    if (at_work > 0) net::log::warn({}, "drain: time is up, {} clients are cut off", at_work);
    stage_ = Stage::closing;
    stage_deadline_ = now + kTeardownLimit;
    note_deadline(stage_deadline_);
    cut_off_clients(now);
    host_.remove(now);
    send_off();
  }
  // By the deadline of this stage: that the one before took all of its time does not cut the logout short.
  const bool over = now >= stage_deadline_ || (host_.removed() && clients_at_work() == 0);
  if (stage_ != Stage::closing || !over) return;
  for (Station* station : stations_) station->last_words(now);
  stage_ = Stage::ended;
}

}  // namespace nbdgw::shard
