#include "tests/sim/gateway.hpp"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <utility>

#include "gateway/net/clock.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "tests/sim/reload.hpp"

namespace nbdgw::sim {
namespace {

/// The resolver wants one; there are no names in this world, so it is never asked for anything.
boost::asio::io_context& no_control() {
  static boost::asio::io_context context;
  return context;
}

}  // namespace

Gateway::Gateway(GatewaySetup setup, Network& network, GatewayObserver& observer)
    : setup_(std::move(setup)),
      configured_(setup_.targets),
      network_(network),
      observer_(observer),
      resolver_(no_control()) {
  begin();
}

Gateway::~Gateway() = default;

void Gateway::begin() {
  observer_.on_process_begins();
  events_ = std::make_unique<shard::EventLog>();
  events_->observe([this](const shard::EventRecord& record) { observer_.on_event(record); });
  disks_ = std::make_unique<shard::DiskRegister>();
  limit_ = std::make_unique<net::ConnectionLimit>(setup_.most_clients);
  shard::ShardOptions options = setup_.shard;
  options.events = events_.get();
  for (std::uint32_t i = 0; i < setup_.shards; ++i) {
    workers_.push_back(std::make_unique<shard::Worker>(i, options, *disks_));
    pollers_.push_back(network_.last_epoll());
    workers_.back()->shard.set_stall_timeout(setup_.clients.stall_timeout, net::steady_now());
  }
  for (const GatewaySetup::Target& target : setup_.targets) {
    if (target.exports.empty()) continue;
    shard::Worker& worker = least_loaded_worker();
    shard::WorkOrder order;
    order.new_targets.push_back(order_target(target));
    for (const bridge::ExportConfig& exported : target.exports) {
      order.new_exports.push_back(order_export(target, exported));
    }
    note_made(worker, carry_out(worker, std::move(order)));
  }
  caches_.settle();
  publish_places();
}

/// The one with the fewest sessions.
shard::Worker& Gateway::least_loaded_worker() noexcept {
  const auto sessions = [this](const std::unique_ptr<shard::Worker>& worker) {
    return std::ranges::count_if(targets_, [&](const auto& entry) { return entry.second.worker == worker.get(); });
  };
  return **std::ranges::min_element(workers_, {}, sessions);
}

shard::WorkOrder::NewTarget Gateway::order_target(const GatewaySetup::Target& target) {
  const auto place =
      std::ranges::find(setup_.targets, target.settings.label, [](const auto& each) { return each.settings.label; });
  return {.settings = target.settings, .number = static_cast<std::uint32_t>(place - setup_.targets.begin() + 1)};
}

shard::WorkOrder::NewExport Gateway::order_export(const GatewaySetup::Target& target,
                                                  const bridge::ExportConfig& exported) {
  return {.config = exported,
          .target = target.settings.label,
          .cache = caches_.take(target.settings.target_name, exported.lun)};
}

shard::WorkDone Gateway::carry_out(shard::Worker& worker, shard::WorkOrder order) {
  return worker.carry_out(std::move(order), resolver_, *events_, net::steady_now());
}

void Gateway::note_made(shard::Worker& worker, const shard::WorkDone& made) {
  for (const auto& [label, driver] : made.targets) targets_[label] = {&worker, driver};
  for (const auto& [name, slot] : made.exports) exports_[name] = {&worker, slot};
}

/// What new clients are told of, and where it is. What is configured and not there is being made anew.
void Gateway::publish_places() {
  auto directory = std::make_shared<nbd::ExportDirectory>();
  auto places = std::make_shared<shard::ExportPlaces>();
  for (const GatewaySetup::Target& target : setup_.targets) {
    for (const bridge::ExportConfig& exported : target.exports) {
      const auto home = exports_.find(exported.name);
      directory->push_back({exported.name, exported.description});
      places->emplace(exported.name,
                      shard::ExportPlace{home == exports_.end() ? nullptr : &home->second.worker->shard});
    }
  }
  directory_ = std::move(directory);
  const shard::ExportPlacesPtr shared = std::move(places);
  for (const auto& worker : workers_) {
    worker->shard.post([&shard = worker->shard, shared](Micros) { shard.set_places(shared); });
  }
}

void Gateway::accept(int fd) {
  net::UniqueFd owned(fd);
  if (ending_) {
    waiting_.push_back(std::move(owned));
    return;
  }
  net::ConnectionLimit::Ticket ticket = limit_->take();
  if (!ticket || workers_.empty()) return;  // closed
  const std::uint64_t id = ++last_client_;
  workers_[id % workers_.size()]->shard.send_here(std::make_unique<shard::NbdClient>(
      id, std::move(owned), std::move(ticket), directory_, setup_.clients, net::steady_now()));
}

Micros Gateway::due() {
  if (!control_.empty()) return network_.timeline().now();
  Micros least = proto::kNever;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i]->shard.has_ended()) continue;
    if (network_.is_ready(pollers_[i])) return network_.timeline().now();
    least = std::min(least, workers_[i]->shard.next_turn());
  }
  return least;
}

std::uint32_t Gateway::turns() {
  run_control();
  std::uint32_t count = 0;
  const Micros now = network_.timeline().now();
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    shard::Shard& shard = workers_[i]->shard;
    if (shard.has_ended() || (shard.next_turn() > now && !network_.is_ready(pollers_[i]))) continue;
    shard.turn();
    ++count;
  }
  turns_ += count;
  return count;
}

void Gateway::run_control() {
  if (control_.empty()) return;  // at nearly every turn
  for (Step& step : std::exchange(control_, {})) step();
}

void Gateway::reload(std::vector<GatewaySetup::Target> targets, Micros limit) {
  configured_ = targets;
  reload_ = std::make_unique<Reload>(*this, std::move(targets), limit);
  reload_->begin();
}

bool Gateway::has_export(const std::string& name) const {
  return exports_.contains(name);
}

void Gateway::set_admin_state(const std::string& exported, shard::AdminState state) {
  const auto home = exports_.find(exported);
  if (home == exports_.end()) return;
  shard::Worker& worker = *home->second.worker;
  worker.shard.post([&worker, exported, state](Micros now) {
    for (const auto& slot : worker.exports) {
      if (slot->name() == exported && !slot->is_leaving()) worker.shard.set_admin_state(*slot, state, now);
    }
  });
}

bool Gateway::recover(const std::string& target, initiator::RecoveryRequest request, std::uint64_t which) {
  const auto home = targets_.find(target);
  if (!may_reload() || home == targets_.end()) return false;
  const initiator::Session& session = home->second.driver->session();
  if (session.state() != initiator::SessionState::logged_in || !session.escalation().takes_requests()) return false;
  if (request.rung == initiator::Rung::abort_task) {
    std::vector<std::uint32_t> tags;
    for (const initiator::Task* task = session.running().front(); task != nullptr; task = task->list_next)
      tags.push_back(task->itt);
    if (tags.empty()) return false;
    request.itt = tags[which % tags.size()];
  }
  observer_.on_rung_asked(target, request.rung);
  shard::Worker& worker = *home->second.worker;
  worker.shard.post([&worker, target, request](Micros) {
    for (const auto& driver : worker.drivers) {
      if (driver->session().settings().label == target) driver->session().request_recovery(request);
    }
  });
  return true;
}

void Gateway::take_clients(bool yes) {
  for (const auto& worker : workers_) {
    worker->shard.post([&shard = worker->shard, yes](Micros) { shard.take_clients(yes); });
  }
}

void Gateway::end(Micros limit, End how) {
  ending_ = true;
  how_ = how;
  for (const auto& worker : workers_) worker->shard.drain(limit, how == End::hands_over);
}

bool Gateway::ended() const {
  return std::ranges::all_of(workers_, [](const auto& worker) { return worker->shard.has_ended(); });
}

void Gateway::close() {
  run_control();
  observer_.on_process_ends(workers_);
  workers_.clear();
  pollers_.clear();
  control_.clear();
  reload_.reset();
  waiting_.clear();
}

void Gateway::begin_again() {
  run_control();  // what a reload has been told last
  observer_.on_process_ends(workers_);
  std::vector<shard::KeptClient> clients = take_kept();
  if (how_ == End::leaves_nothing) {
    forget_all_but_writes_left();
    observer_.on_all_forgotten();
  }
  workers_.clear();
  pollers_.clear();
  control_.clear();
  targets_.clear();
  exports_.clear();
  reload_.reset();
  setup_.targets = configured_;
  leave_debts(clients);
  begin();
  for (shard::KeptClient& client : clients) resume(std::move(client));
  ending_ = false;
  for (net::UniqueFd& fd : std::exchange(waiting_, {})) accept(fd.release());
}

/// Those whose export is configured no more are closed, and what they were owed is left to whoever comes.
void Gateway::leave_debts(std::vector<shard::KeptClient>& clients) {
  std::erase_if(clients, [this](const shard::KeptClient& client) {
    for (const GatewaySetup::Target& target : setup_.targets) {
      for (const bridge::ExportConfig& exported : target.exports) {
        if (exported.name == client.connection.info.name) return false;
      }
    }
    if (client.connection.standing == nbd::LossStanding::owed) caches_.leave_debt(client.iqn, client.lun);
    return true;
  });
}

void Gateway::resume(shard::KeptClient client) {
  const auto home = exports_.find(client.connection.info.name);
  net::ConnectionLimit::Ticket ticket = limit_->take();
  if (!ticket) return;
  home->second.worker->shard.send_here(std::make_unique<shard::NbdClient>(
      ++last_client_, std::move(client), std::move(ticket), setup_.clients, net::steady_now()));
}

/// The next process knows nothing. But what was left with the target it is told all the same: nothing could make that
/// good that knows of nothing (ARCHITECTURE.md says so), and it is not what this kind of restart is about.
void Gateway::forget_all_but_writes_left() {
  shard::CacheMemory left;
  for (shard::ExportLegacy& legacy : caches_.all()) {
    if (!legacy.cache.writes_left) continue;
    const proto::DiskIdentity disk = legacy.cache.disk;
    std::vector<initiator::LeftWrites> where = std::move(legacy.cache.left);
    legacy.cache = {};
    legacy.cache.disk = disk;
    legacy.cache.writes_left = true;
    legacy.cache.left = std::move(where);
    left.put(std::move(legacy));
  }
  caches_ = std::move(left);
}

/// What the process that ends leaves for the next one.
std::vector<shard::KeptClient> Gateway::take_kept() {
  shard::KeptState state;
  for (const auto& worker : workers_) worker->take_kept(state);
  for (shard::ExportLegacy& legacy : state.exports) caches_.put(std::move(legacy));
  return std::move(state.clients);
}

}  // namespace nbdgw::sim
