#include "gateway/shard/shard.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>

#include "gateway/bridge/limits.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "proto/assert.hpp"

namespace nbdgw::shard {

void Station::on_bell(void* station) noexcept {
  Station& self = *static_cast<Station*>(station);
  if (self.shard_ != nullptr) self.shard_->touch(self);
}

Shard::Shard(std::uint32_t index, const ShardOptions& options)
    : index_(index),
      arena_(options.memory),
      pool_(arena_.memory()),
      shares_(pool_, options.clients, bridge::memory_for(bridge::kMaxPayload)),
      host_(options.initiator_name, random_),
      slept_(options.slept),
      peer_silence_(options.peer_silence),
      events_(options.events),
      mailbox_(poller_) {}

Shard::~Shard() {
  stop();
}

void Shard::add_station(Station& station) {
  stations_.push_back(&station);
  station.shard_ = this;
  touch(station);  // so that its first turn looks at its sockets and deadlines
}

void Shard::add_export(ExportSlot& slot) {
  exports_.push_back(&slot);
}

void Shard::set_places(ExportPlacesPtr places) {
  places_ = std::move(places);
  exports_changed();
}

void Shard::remove_station(Station& station) {
  std::erase(stations_, &station);
  std::erase(touched_stations_, &station);
  station.shard_ = nullptr;
  station.touched_ = false;
}

void Shard::remove_export(ExportSlot& slot, proto::Micros limit, proto::Micros now) {
  std::erase(exports_, &slot);
  slot.leave();
  for (const auto& client : clients_) client->forgo(slot);
  exports_changed();  // who waits for it hears that it is gone
  for (const auto& client : clients_) {
    if (client->slot() == &slot) client->send_away(limit, now);
  }
}

std::size_t Shard::client_count(const ExportSlot& slot) const noexcept {
  return static_cast<std::size_t>(
      std::ranges::count_if(clients_, [&](const auto& client) { return client->slot() == &slot; }));
}

void Shard::add_chore(std::unique_ptr<Chore> chore) {
  chores_.push_back(std::move(chore));
}

void Shard::start() {
  NBDGW_ASSERT(!thread_.joinable(), "a shard is started once");
  thread_ = std::thread([this] { run(); });
}

void Shard::drain(proto::Micros limit, bool keep_clients) {
  post([this, limit, keep_clients](proto::Micros now) { begin_drain(limit, keep_clients, now); });
}

void Shard::stop() {
  if (!thread_.joinable()) return;
  post([this](proto::Micros now) {
    cut_off_clients(now);
    stage_ = Stage::ended;
  });
  join();
}

void Shard::join() {
  if (thread_.joinable()) thread_.join();
}

void Shard::run() {
  ::pthread_setname_np(::pthread_self(), ("shard" + std::to_string(index_)).c_str());
  now_ = net::steady_now();
  while (turn()) {
  }
}

bool Shard::turn() {
  const proto::Micros due = next_turn();  // now: the last turn has left something to do
  const proto::Micros timeout = due == proto::kNever ? due : due - now_;
#ifdef NBDGW_CHECKED
  if (timeout > 0) check_turns();
#endif
  if (timeout > 0) let_others_work();
  const auto ready = poller_.wait(timeout);
  now_ = net::steady_now();
  ++turns_;
  for (const epoll_event& event : ready) static_cast<net::Watcher*>(event.data.ptr)->on_ready(event.events, now_);
  if (now_ >= wake_at_) deadlines(now_);
  settle(now_);
  if (!chores_.empty()) advance_chores(now_);
  if (stage_ != Stage::running) advance_drain(now_);
  if (stage_ != Stage::ended) return true;
  ended_.store(true, std::memory_order_release);
  mailbox_.close();
  return false;
}

/// Clients and targets on this machine that wait for this processor have something for us as soon as they get it.
/// With several commands under way it pays to let them before we look: what comes together is handled together, where
/// else each piece would cost a wake-up (measured on two processors: a fifth of the CPU at 4 KiB and depth 32, a
/// tenth at 1 MiB and depth 8, and no fewer requests). Where it is others that wait for the processor, it would be
/// given away for nothing: two busy loops took almost half of the requests. So no more of it is given than this
/// thread has used itself, which they would get from the kernel as well: then they take nothing.
void Shard::let_others_work() noexcept {
  std::uint32_t load = 0;
  for (const Station* station : stations_) load += station->load();
  if (load < kDeepQueue) return;
  const proto::Micros used = net::thread_cpu_time();
  to_give_ = std::min(to_give_ + used - used_, kMaxToGive);
  used_ = used;
  if (to_give_ <= 0) return;
  const proto::Micros begin = net::steady_now();
  ::sched_yield();
  to_give_ = std::max(to_give_ - (net::steady_now() - begin), -kMaxGivenTooMuch);
}

void Shard::advance_chores(proto::Micros now) {
  // The exports that are left share the room of one that has gone.
  if (std::erase_if(chores_, [now](const auto& chore) { return chore->advance(now); }) > 0) room_made_ = true;
  for (const auto& chore : chores_) note_deadline(chore->next_deadline());
}

void Shard::deadlines(proto::Micros now) {
  wake_at_ = std::min(stage_deadline_, handshake_deadline_);
  const auto call = [&](auto& who) {
    if (who.next_deadline() <= now) {
      who.on_deadline(now);
      touch(who);  // its next deadline is noted when it has been served
    } else {
      note_deadline(who.next_deadline());
    }
  };
  for (Station* station : stations_) call(*station);
  for (const auto& client : clients_) call(*client);
  for (const auto& chore : chores_) note_deadline(chore->next_deadline());  // they look at the clock in every turn
}

void Shard::touch(Station& station) {
  if (station.touched_) return;
  station.touched_ = true;
  touched_stations_.push_back(&station);
}

void Shard::touch(NbdClient& client) {
  if (client.touched_) return;
  client.touched_ = true;
  touched_clients_.push_back(&client);
}

void Shard::settle(proto::Micros now) {
  for (int round = 0; round < kRoundsPerTurn && has_work(); ++round) {
    serve_stations(now);
    serve_clients(now);
    serve_stalled(now);
  }
  send_off();
}

void Shard::serve_stations(proto::Micros now) {
  serving_stations_.swap(touched_stations_);
  for (Station* station : serving_stations_) {
    station->touched_ = false;
    station->bell_.hush();
    station->deliver(now);
  }
  for (Station* station : serving_stations_) {
    station->transmit(now);
    station->bell_.listen();
    if (station->wants_turn()) touch(*station);
    note_deadline(station->next_deadline());
  }
  serving_stations_.clear();
}

void Shard::serve_clients(proto::Micros now) {
  serving_clients_.swap(touched_clients_);
  for (NbdClient* client : serving_clients_) {
    client->touched_ = false;
    client->serve(now);
    note_deadline(client->next_deadline());
  }
  serving_clients_.clear();
}

/// A mistake of ours: somebody would wait, perhaps for ever, for a turn that nobody has asked for.
void Shard::check_turns() {
  for (const Station* station : stations_) {
    NBDGW_ASSERT(!station->wants_turn(), "no station sleeps that has work");
    NBDGW_ASSERT(station->next_deadline() >= wake_at_, "no station oversleeps its deadline");
  }
  for (const auto& client : clients_) {
    NBDGW_ASSERT(!client->wants_turn(), "no client sleeps that has work");
    NBDGW_ASSERT(client->next_deadline() >= wake_at_, "no client oversleeps its deadline");
  }
  for (NbdClient* client : stalled_) {
    NBDGW_ASSERT(!client->open() || client->retry_room(now_), "no client waits for room that there is");
  }
}

void Shard::serve_stalled(proto::Micros now) {
  room_made_ = false;
  if (stalled_.empty()) return;
  const std::uint64_t made_way = shares_.made_way();
  std::size_t kept = 0;
  for (NbdClient* client : stalled_) {
    if (client->retry_room(now)) stalled_[kept++] = client;
  }
  stalled_.resize(kept);
  room_made_ = shares_.made_way() != made_way;
}

void Shard::send_here(std::unique_ptr<NbdClient> client) {
  post([this, moving = std::move(client)](proto::Micros now) mutable { adopt(std::move(moving), now); });
}

void Shard::adopt(std::unique_ptr<NbdClient> client, proto::Micros now) {
  NbdClient& arrived = *client;
  arrived.place_ = clients_.size();
  clients_.push_back(std::move(client));
  arrived.enter(*this, now);
  arrived.set_stall_timeout(stall_timeout_, now);
  if (stage_ != Stage::running) say_goodbye(arrived, now);
  touch(arrived);
}

void Shard::exports_changed() {
  for (const auto& client : clients_) {
    if (client->waits_for_export()) touch(*client);
  }
}

void Shard::take_clients(bool yes) {
  takes_clients_ = yes;
  exports_changed();
}

void Shard::set_stall_timeout(proto::Micros timeout, proto::Micros now) {
  stall_timeout_ = timeout;
  for (const auto& client : clients_) client->set_stall_timeout(timeout, now);
}

void Shard::set_admin_state(ExportSlot& slot, AdminState state, proto::Micros now) {
  slot.set_admin_state(state);
  exports_changed();
  if (state != AdminState::maint) return;
  for (const auto& client : clients_) {
    if (client->slot() == &slot) client->send_away(kSendAwayLimit, now);
  }
}

NbdClient* Shard::find_client(std::uint64_t id) noexcept {
  const auto found = std::ranges::find(clients_, id, [](const auto& client) { return client->id(); });
  return found != clients_.end() && (*found)->open() ? found->get() : nullptr;
}

ExportSlot* Shard::find_export(std::string_view name) noexcept {
  const auto found =
      std::ranges::find(exports_, name, [](ExportSlot* slot) -> std::string_view { return slot->name(); });
  return found == exports_.end() ? nullptr : *found;
}

const ExportPlace* Shard::place_of(std::string_view name) const noexcept {
  if (places_ == nullptr) return nullptr;
  const auto found = places_->find(std::string(name));
  return found == places_->end() ? nullptr : &found->second;
}

void Shard::stall(NbdClient& client) {
  stalled_.push_back(&client);
}

void Shard::leave(NbdClient& client, Shard* target) {
  leaving_.emplace_back(&client, target);
  room_made_ = true;
}

void Shard::send_off() {
  for (const auto& [client, target] : leaving_) {
    std::unique_ptr<NbdClient> taken = take_out(*client);
    if (target == nullptr) continue;
    target->send_here(std::move(taken));
  }
  leaving_.clear();
}

std::unique_ptr<NbdClient> Shard::take_out(NbdClient& client) noexcept {
  std::erase(touched_clients_, &client);
  std::erase(stalled_, &client);
  client.touched_ = false;
  const std::size_t place = client.place_;
  std::unique_ptr<NbdClient> taken = std::move(clients_[place]);
  if (place + 1 != clients_.size()) {
    clients_[place] = std::move(clients_.back());
    clients_[place]->place_ = place;
  }
  clients_.pop_back();
  return taken;
}

}  // namespace nbdgw::shard
