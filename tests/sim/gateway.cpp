#include "tests/sim/gateway.hpp"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <set>
#include <utility>

#include "gateway/net/clock.hpp"
#include "gateway/shard/nbd_client.hpp"

namespace nbdgw::sim {
namespace {

/// The resolver wants one; there are no names in this world, so it is never asked for anything.
boost::asio::io_context& no_control() {
  static boost::asio::io_context context;
  return context;
}

}  // namespace

Gateway::Gateway(GatewaySetup setup, Network& network, GatewayObserver& observer)
    : setup_(std::move(setup)), network_(network), observer_(observer), resolver_(no_control()) {
  begin();
}

void Gateway::begin() {
  observer_.on_process_begins();
  events_ = std::make_unique<shard::EventLog>();
  events_->observe([this](const shard::EventRecord& record) { observer_.on_event(record); });
  disks_ = std::make_unique<shard::DiskRegister>();
  limit_ = std::make_unique<net::ConnectionLimit>(setup_.most_clients);
  auto directory = std::make_shared<nbd::ExportDirectory>();
  auto places = std::make_shared<shard::ExportPlaces>();
  shard::ShardOptions options = setup_.shard;
  options.events = events_.get();
  for (std::uint32_t i = 0; i < setup_.shards; ++i) {
    workers_.push_back(std::make_unique<shard::Worker>(i, options, *disks_));
    pollers_.push_back(network_.last_epoll());
  }
  for (std::size_t i = 0; i < setup_.targets.size(); ++i) {
    shard::Worker& worker = *workers_[i % workers_.size()];
    const GatewaySetup::Target& target = setup_.targets[i];
    shard::WorkOrder order;
    order.new_targets.push_back({.settings = target.settings, .number = static_cast<std::uint32_t>(i + 1)});
    for (const bridge::ExportConfig& exported : target.exports) {
      order.new_exports.push_back({.config = exported,
                                   .target = target.settings.label,
                                   .cache = caches_.take(target.settings.target_name, exported.lun)});
      directory->push_back({exported.name, exported.description});
      places->emplace(exported.name, shard::ExportPlace{&worker.shard});
    }
    worker.carry_out(std::move(order), resolver_, *events_, net::steady_now());
  }
  caches_.settle();
  directory_ = std::move(directory);
  for (const auto& worker : workers_) worker->shard.set_places(places);
  places_ = std::move(places);
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
  Micros least = proto::kNever;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i]->shard.has_ended()) continue;
    if (network_.is_ready(pollers_[i])) return network_.timeline().now();
    least = std::min(least, workers_[i]->shard.next_turn());
  }
  return least;
}

std::uint32_t Gateway::turns() {
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

void Gateway::end(Micros limit, bool keep_clients) {
  ending_ = true;
  for (const auto& worker : workers_) worker->shard.drain(limit, keep_clients);
}

void Gateway::close() {
  observer_.on_process_ends(workers_);
  workers_.clear();
  pollers_.clear();
  waiting_.clear();
}

void Gateway::begin_again() {
  observer_.on_process_ends(workers_);
  std::vector<shard::KeptClient> clients = take_kept();
  workers_.clear();
  pollers_.clear();
  begin();
  for (shard::KeptClient& client : clients) {
    net::ConnectionLimit::Ticket ticket = limit_->take();
    const shard::ExportPlace& place = places_->at(client.connection.info.name);
    if (!ticket || place.shard == nullptr) continue;
    place.shard->send_here(std::make_unique<shard::NbdClient>(++last_client_, std::move(client), std::move(ticket),
                                                              setup_.clients, net::steady_now()));
  }
  ending_ = false;
  for (net::UniqueFd& fd : std::exchange(waiting_, {})) accept(fd.release());
}

/// What the process that ends leaves for the next one.
std::vector<shard::KeptClient> Gateway::take_kept() {
  std::vector<shard::KeptClient> clients;
  std::set<const bridge::Disk*> told;
  for (const auto& worker : workers_) {
    for (const auto& client : worker->shard.clients()) {
      if (client->parked()) clients.push_back(client->kept());
    }
    for (const auto& slot : worker->exports) {
      const bridge::Export& exported = slot->exported();
      if (!exported.cache().matters() && !exported.leaves_writes()) continue;
      shard::ExportLegacy legacy = shard::legacy_of(*slot, net::steady_now());
      // Of several exports of a disk one takes the debts along.
      if (!told.insert(exported.disk().get()).second) legacy.cache.cache.drop_debts();
      caches_.put(std::move(legacy));
    }
  }
  return clients;
}

bool Gateway::ended() const {
  return std::ranges::all_of(workers_, [](const auto& worker) { return worker->shard.has_ended(); });
}

}  // namespace nbdgw::sim
