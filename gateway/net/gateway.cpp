#include "gateway/net/gateway.hpp"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "config/address.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/config_diff.hpp"
#include "gateway/net/gateway_reload.hpp"
#include "gateway/net/nbd_client.hpp"
#include "gateway/net/session_settings.hpp"
#include "gateway/net/stall.hpp"

namespace nbdgw::net {
namespace {

/// Descriptors beside those of clients and target connections: log, epoll, events, listeners, libraries.
constexpr std::uint64_t kSpareDescriptors = 128;

/// Raises the soft limit of open files as far as needed and allowed, and says so if that is not enough.
void raise_descriptor_limit(const config::Config& config) {
  std::uint64_t needed = config.limits.connections + kSpareDescriptors;
  for (const config::Target& target : config.targets) needed += target.connections;
  needed +=
      config.listen.admin.size() * (config::kAdminConnections + 1);  // a newcomer, before it is decided who goes
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
  limit.rlim_cur = std::min<rlim_t>(needed, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < needed) {
    spdlog::warn(
        "limits.connections asks for {} open files, the system allows {}: clients beyond will have to wait "
        "(ulimit -n, LimitNOFILE=)",
        needed, limit.rlim_cur);
  }
}

nbd::ExportDirectoryPtr make_directory(const config::Config& config) {
  auto directory = std::make_shared<nbd::ExportDirectory>();
  for (const config::Export& exported : config.exports) directory->push_back({exported.name, exported.description});
  return directory;
}

}  // namespace

Gateway::Gateway(config::Config config, GatewayOptions options)
    : config_(std::make_shared<const config::Config>(std::move(config))),
      options_(options),
      limit_(config_->limits.connections),
      control_work_(boost::asio::make_work_guard(control_)),
      resolver_(control_),
      directory_(make_directory(*config_)) {}

Gateway::~Gateway() {
  for (const auto& worker : workers_) worker->shard.stop();
  stop_control();
}

void Gateway::start() {
  open_listeners();
  make_workers();
  for (const auto& worker : workers_) worker->shard.start();
  if (options_.kept != nullptr) resume_clients(std::move(options_.kept->clients));
  for (const auto& listener : listeners_) listener->start();
  control_thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "control");
    control_.run();
  });
}

void Gateway::open_listeners() {
  InheritedSockets none;
  InheritedSockets& inherited = options_.inherited != nullptr ? *options_.inherited : none;
  for (const config::Endpoint& named : config_->listen.nbd) {
    for (ListeningPlace& place : inherited.places(named)) {
      if (place.inherited && !config::is_local(place.endpoint))
        spdlog::warn("{} is {}: whoever gets there can read and write every export", to_string(named),
                     to_string(place.endpoint));
      listeners_.push_back(std::make_unique<Listener>(
          control_, place.endpoint, limit_,
          [this](UniqueFd fd, ConnectionLimit::Ticket ticket) { take_client(std::move(fd), std::move(ticket)); },
          ListenerSettings{}, std::move(place.inherited)));
      addresses_.push_back(listeners_.back()->address());
    }
  }
  inherited.check_all_taken();
}

void Gateway::make_workers() {
  const config::Config& config = *config_;
  const std::uint32_t count = config::worker_count(config, std::max(1U, std::thread::hardware_concurrency()));
  ShardOptions options;
  options.initiator_name = config.initiator.name;
  options.memory = config.limits.memory / count;
  for (std::uint32_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<Worker>(i, options));
  }
  for (std::uint32_t i = 0; i < config.targets.size(); ++i) {
    if (!is_used(config, config.targets[i])) continue;
    Worker& worker = least_loaded_worker();
    WorkOrder order;
    order.new_targets.push_back(order_target(config, i, worker));
    for (const config::Export& exported : config.exports) {
      if (exported.target != i) continue;
      order.new_exports.push_back({.config = export_config(config, exported),
                                   .required = exported.required,
                                   .target = config.targets[i].name,
                                   .cache = kept_cache(config.targets[i].iqn, exported)});
    }
    note_made(worker, worker.carry_out(std::move(order), resolver_, recovery_, steady_now()));
  }
  put_in_force(config);
  publish_places();
}

/// The one with the fewest sessions.
Worker& Gateway::least_loaded_worker() noexcept {
  const auto sessions = [this](const std::unique_ptr<Worker>& worker) {
    return std::ranges::count_if(targets_, [&](const auto& entry) { return entry.second.worker == worker.get(); });
  };
  return **std::ranges::min_element(workers_, {}, sessions);
}

/// Gives a target its place. The driver is there once the order has been carried out: see note_made().
WorkOrder::NewTarget Gateway::order_target(const config::Config& config, std::uint32_t index, Worker& worker) {
  const config::Target& target = config.targets[index];
  spdlog::info("target {}: {}", target.name, describe(worst_case_stall(target), target));
  const std::uint32_t number = numbers_.take(target.iqn);
  targets_[target.name] = {.worker = &worker, .driver = nullptr, .number = number};
  return {.settings = session_settings(config, index), .number = number};
}

void Gateway::note_made(Worker& worker, const WorkDone& made) {
  for (const auto& [name, driver] : made.targets) targets_[name].driver = driver;
  for (const auto& [name, slot] : made.exports) exports_[name] = {.worker = &worker, .slot = slot};
}

std::shared_ptr<const config::Config> Gateway::config() const {
  const std::lock_guard lock(config_mutex_);
  return config_;
}

/// What the control thread itself goes by. What the shards go by, they have.
void Gateway::put_in_force(config::Config config) {
  raise_descriptor_limit(config);
  limit_.set_limit(config.limits.connections);
  client_options_.max_in_flight = config.limits.in_flight_per_connection;
  client_options_.handshake_timeout = config.limits.handshake_timeout;
  directory_ = make_directory(config);
  auto shared = std::make_shared<const config::Config>(std::move(config));
  const std::lock_guard lock(config_mutex_);
  config_ = std::move(shared);
}

/// Tells the shards where the exports are. Those that are configured and not there are being made anew.
void Gateway::publish_places() {
  ExportPlaces places;
  for (const config::Export& exported : config_->exports) {
    const auto home = exports_.find(exported.name);
    places.emplace(exported.name, ExportPlace{home == exports_.end() ? nullptr : &home->second.worker->shard});
  }
  const auto shared = std::make_shared<const ExportPlaces>(std::move(places));
  for (const auto& worker : workers_) {
    worker->shard.post([&shard = worker->shard, shared](proto::Micros) { shard.set_places(shared); });
  }
}

void Gateway::take_client(UniqueFd fd, ConnectionLimit::Ticket ticket) {
  Shard& shard = workers_[next_worker_++ % workers_.size()]->shard;
  shard.send_here(std::make_unique<NbdClient>(++last_client_, std::move(fd), std::move(ticket), directory_,
                                              client_options_, steady_now()));
}

void Gateway::drain() {
  on_control([this] {
    ending_ = true;
    for (const auto& listener : listeners_) listener->stop();
    for (const auto& worker : workers_) worker->shard.drain(options_.drain_limit, options_.keep_clients);
  });
}

void Gateway::wait() {
  for (const auto& worker : workers_) worker->shard.join();
  stop_control();
}

void Gateway::stop_control() {
  control_work_.reset();
  control_.stop();
  if (control_thread_.joinable()) control_thread_.join();
  listeners_.clear();
}

void Gateway::ping(std::uint32_t shard, std::function<void()> answer) {
  workers_[shard]->shard.post([answer = std::move(answer)](proto::Micros) { answer(); });
}

}  // namespace nbdgw::net
