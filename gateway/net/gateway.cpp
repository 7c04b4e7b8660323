#include "gateway/net/gateway.hpp"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "gateway/net/clock.hpp"
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
    : config_(std::move(config)),
      options_(options),
      limit_(config_.limits.connections),
      control_work_(boost::asio::make_work_guard(control_)),
      resolver_(control_),
      directory_(make_directory(config_)) {}

Gateway::~Gateway() {
  for (const auto& worker : workers_) worker->shard.stop();
  stop_control();
}

void Gateway::start() {
  raise_descriptor_limit(config_);
  open_listeners();
  make_workers();
  for (const auto& worker : workers_) worker->shard.start();
  for (const auto& listener : listeners_) listener->start();
  control_thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "control");
    control_.run();
  });
}

void Gateway::open_listeners() {
  for (const config::Endpoint& endpoint : config_.listen.nbd) {
    listeners_.push_back(std::make_unique<Listener>(
        control_, endpoint, limit_,
        [this](UniqueFd fd, ConnectionLimit::Ticket ticket) { take_client(std::move(fd), std::move(ticket)); }));
    addresses_.push_back(listeners_.back()->address());
  }
}

void Gateway::make_workers() {
  const std::uint32_t count = config::worker_count(config_, std::max(1U, std::thread::hardware_concurrency()));
  ShardOptions options;
  options.initiator_name = config_.initiator.name;
  options.memory = config_.limits.memory / count;
  options.directory = directory_;
  options.client.max_in_flight = config_.limits.in_flight_per_connection;
  options.client.handshake_timeout = config_.limits.handshake_timeout;
  for (std::uint32_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<Worker>(i, options));
  }
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < config_.targets.size(); ++i) {
    const bool used =
        std::ranges::any_of(config_.exports, [&](const auto& exported) { return exported.target == i; });
    if (used) add_target(*workers_[next++ % count], i);
  }
  for (const auto& worker : workers_) worker->shard.set_places(&places_);
}

void Gateway::add_target(Worker& worker, std::uint32_t index) {
  const config::Target& target = config_.targets[index];
  spdlog::info("target {}: {}", target.name, describe(worst_case_stall(target), target));
  initiator::Session& session = worker.shard.host().add(session_settings(config_, index), index, steady_now());
  SessionDriver& driver =
      *worker.drivers.emplace_back(std::make_unique<SessionDriver>(worker.shard, resolver_, recovery_, session));
  for (const config::Export& exported : config_.exports) {
    if (exported.target != index) continue;
    SessionExport& slot = *worker.exports.emplace_back(
        std::make_unique<SessionExport>(export_config(config_, exported), worker.shard.pool(), driver));
    worker.shard.add_export(slot);
    places_.emplace(exported.name, &worker.shard);
  }
  worker.shard.add_station(driver);
}

void Gateway::take_client(UniqueFd fd, ConnectionLimit::Ticket ticket) {
  Shard& shard = workers_[next_worker_++ % workers_.size()]->shard;
  auto client = std::make_unique<NbdClient>(++last_client_, std::move(fd), std::move(ticket), directory_,
                                            shard.options().client, steady_now());
  shard.post(
      [&shard, moving = std::move(client)](proto::Micros now) mutable { shard.adopt(std::move(moving), now); });
}

void Gateway::drain() {
  boost::asio::post(control_, [this] {
    for (const auto& listener : listeners_) listener->stop();
    for (const auto& worker : workers_) worker->shard.drain(options_.drain_limit);
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
