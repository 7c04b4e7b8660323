#include "gateway/control/gateway.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "config/address.hpp"
#include "gateway/control/config_diff.hpp"
#include "gateway/control/descriptor_budget.hpp"
#include "gateway/control/gateway_reload.hpp"
#include "gateway/control/stall.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/session_settings.hpp"

namespace nbdgw::control {
namespace {

/// Where the open files that the system allows do not do for all. Throws std::system_error where they do for nobody.
void tell_shortage(const DescriptorBudget& budget, bool at_start) {
  const std::string numbers = fmt::format(
      "the system allows this process {} open files (hard limit), of which it needs {} for the targets, the admin "
      "server and itself",
      budget.allowed, budget.own);
  const std::string advice =
      fmt::format("set LimitNOFILE={} or more in the unit (ulimit -Hn elsewhere)", budget.own + budget.wanted);
  if (budget.clients == 0 && at_start)
    throw std::system_error(EMFILE, std::system_category(), numbers + ", so no client could be let in; " + advice);
  net::log::warn({}, "{}: {} clients are let in at a time, not {} (limits.connections); {}", numbers, budget.clients,
                 budget.wanted, advice);
}

/// From the death of a process that has left a session of several connections without a word to the first login of
/// the next. LIO closes a connection two seconds after its initiator has gone, and its kernel panics if such a
/// session is replaced while it does so. Measured with Linux 6.1 in an emulated guest, a tenth as fast as a machine:
/// the connections were there for 1.7 to 2.3 s; of the logins after 2 s one of six found it at that, of those after
/// this time none.
constexpr proto::Micros kPauseAfterCrash = 2'700 * proto::kMillisecond;
/// And that is no outage in which the target could have lost its power, though a second passes before this one
/// begins.
static_assert(kPauseAfterCrash + 2 * proto::kSecond < bridge::kPowerCycleTime);
/// With one connection there is nothing that could be closed beside it.
constexpr proto::Micros kPauseOfOneConnection = 500 * proto::kMillisecond;
/// What was heard so shortly before this process began was heard when the one before died. Else that was at any time
/// until now.
constexpr proto::Micros kDiedJustNow = 300 * proto::kMillisecond;

/// How long it still takes, for a target.
proto::Micros pause_after_crash(const shard::CacheMemory& left, const initiator::SessionSettings& session,
                                proto::Micros now) {
  if (session.connections == 1) return kPauseOfOneConnection;
  proto::Micros seen_at = 0;
  for (const shard::ExportLegacy& each : left.all()) {
    if (each.iqn == session.target_name) seen_at = std::max(seen_at, each.cache.seen_at);
  }
  const proto::Micros died_at = seen_at <= now && now - seen_at <= kDiedJustNow ? seen_at : now;
  return died_at + kPauseAfterCrash - now;
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
      refusal_timer_(control_),
      resolver_(control_),
      directory_(make_directory(*config_)) {}

Gateway::~Gateway() {
  for (const auto& worker : workers_) worker->shard.stop();
  stop_control();
}

void Gateway::start() {
  open_listeners();
  std::vector<Resumed> resumed;
  open_record();
  if (options_.kept != nullptr) resumed = take_over(*options_.kept);
  make_workers();
  resume(std::move(resumed));  // they are there before any LUN is looked at
  for (const auto& worker : workers_) worker->shard.start();
  for (const auto& listener : listeners_) listener->start();
  tell_refusals_later();
  control_thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "control");
    control_.run();
  });
}

void Gateway::open_listeners() {
  net::InheritedSockets none;
  net::InheritedSockets& inherited = options_.inherited != nullptr ? *options_.inherited : none;
  for (const config::Endpoint& named : config_->listen.nbd) {
    for (net::ListeningPlace& place : inherited.places(named)) {
      if (place.inherited && !config::is_local(place.endpoint))
        net::log::warn({}, "{} is {}: whoever gets there can read and write every export", to_string(named),
                       to_string(place.endpoint));
      listeners_.push_back(std::make_unique<net::Listener>(
          control_, place.endpoint, limit_,
          [this](net::UniqueFd fd, net::ConnectionLimit::Ticket ticket) {
            take_client(std::move(fd), std::move(ticket));
          },
          net::ListenerSettings{.observer = &events_}, std::move(place.inherited)));
      addresses_.push_back(listeners_.back()->address());
    }
  }
  inherited.check_all_taken();
}

void Gateway::make_workers() {
  const config::Config& config = *config_;
  const std::uint32_t count = config::worker_count(config, std::max(1U, std::thread::hardware_concurrency()));
  shard::ShardOptions options;
  options.initiator_name = config.initiator.name;
  options.slept = options_.slept;
  options.clients = config.limits.connections;
  options.memory = config.limits.memory / count;
  options.events = &events_;
  for (std::uint32_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<shard::Worker>(i, options, disks_));
  }
  for (std::uint32_t i = 0; i < config.targets.size(); ++i) {
    if (!is_used(config, config.targets[i])) continue;
    shard::Worker& worker = least_loaded_worker();
    shard::WorkOrder order;
    order.new_targets.push_back(order_target(config, i, worker));
    for (const config::Export& exported : config.exports) {
      if (exported.target != i) continue;
      order.new_exports.push_back(
          {.config = shard::export_config(config, exported),
           .required = exported.required,
           .target = config.targets[i].name,
           .cache = caches_.take(config.targets[i].iqn, shard::wire_lun(exported)),
           .record = record_of(config.targets[i].iqn, shard::wire_lun(exported), exported.name)});
    }
    note_made(worker, worker.carry_out(std::move(order), resolver_, events_, net::steady_now()));
  }
  caches_.settle();
  if (record_ != nullptr) record_->settle();
  put_in_force(config);
  publish_places();
}

/// The one with the fewest sessions.
shard::Worker& Gateway::least_loaded_worker() noexcept {
  const auto sessions = [this](const std::unique_ptr<shard::Worker>& worker) {
    return std::ranges::count_if(targets_, [&](const auto& entry) { return entry.second.worker == worker.get(); });
  };
  return **std::ranges::min_element(workers_, {}, sessions);
}

/// Gives a target its place. The driver is there once the order has been carried out: see note_made().
shard::WorkOrder::NewTarget Gateway::order_target(const config::Config& config, std::uint32_t index,
                                                  shard::Worker& worker) {
  const config::Target& target = config.targets[index];
  net::log::info({.target = target.name}, "target {}: {}", target.name, describe(worst_case_stall(target), target));
  const std::uint32_t number = numbers_.take(target.iqn);
  targets_[target.name] = {.worker = &worker, .driver = nullptr, .number = number};
  shard::WorkOrder::NewTarget order{.settings = shard::session_settings(config, index), .number = number};
  if (const auto place = caches_.place_of(target.iqn)) {
    order.settings.first_portal = place->portal;
    order.settings.first_address = place->address;
    if (record_ != nullptr && record_->before_died() && !control_thread_.joinable())
      order.settings.first_pause = pause_after_crash(caches_, order.settings, net::steady_now());
  }
  return order;
}

void Gateway::note_made(shard::Worker& worker, const shard::WorkDone& made) {
  for (const auto& [name, driver] : made.targets) targets_[name].driver = driver;
  for (const auto& [name, slot] : made.exports) exports_[name] = {.worker = &worker, .slot = slot};
}

std::shared_ptr<const config::Config> Gateway::config() const {
  const std::lock_guard lock(config_mutex_);
  return config_;
}

/// What the control thread itself goes by. What the shards go by, they have.
void Gateway::put_in_force(config::Config config) {
  const DescriptorBudget budget =
      share_out_descriptors(config, workers_.size(), listeners_.size(), raise_descriptor_limit());
  if (budget.is_short()) tell_shortage(budget, !control_thread_.joinable());
  limit_.set_limit(budget.clients, budget.is_short());
  client_options_.max_in_flight = config.limits.in_flight_per_connection;
  client_options_.handshake_timeout = config.limits.handshake_timeout;
  for (const auto& worker : workers_) {
    worker->shard.post([&shard = worker->shard, timeout = config.limits.stall_timeout](proto::Micros now) {
      shard.set_stall_timeout(timeout, now);
    });
  }
  directory_ = make_directory(config);
  auto shared = std::make_shared<const config::Config>(std::move(config));
  const std::lock_guard lock(config_mutex_);
  config_ = std::move(shared);
}

/// Tells the shards where the exports are. Those that are configured and not there are being made anew.
void Gateway::publish_places() {
  shard::ExportPlaces places;
  for (const config::Export& exported : config_->exports) {
    const auto home = exports_.find(exported.name);
    places.emplace(exported.name, shard::ExportPlace{home == exports_.end() ? nullptr : &home->second.worker->shard});
  }
  const auto shared = std::make_shared<const shard::ExportPlaces>(std::move(places));
  for (const auto& worker : workers_) {
    worker->shard.post([&shard = worker->shard, shared](proto::Micros) { shard.set_places(shared); });
  }
}

void Gateway::take_client(net::UniqueFd fd, net::ConnectionLimit::Ticket ticket) {
  shard::Shard& shard = workers_[next_worker_++ % workers_.size()]->shard;
  shard.send_here(std::make_unique<shard::NbdClient>(++last_client_, std::move(fd), std::move(ticket), directory_,
                                                     client_options_, net::steady_now()));
}

/// Of clients that were turned away all but the first are counted, and told now and then.
void Gateway::tell_refusals_later() {
  refusal_timer_.expires_after(std::chrono::microseconds(shard::Refusals::kInterval));
  refusal_timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    events_.tell_refusals(net::steady_now());
    tell_refusals_later();
  });
}

void Gateway::drain() {
  on_control([this] {
    ending_ = true;
    events_.add({}, {},
                shard::StateEvent{
                    .kind = shard::StateEvent::Kind::stopping,
                    .text = fmt::format("the gateway stops: {} client(s) finish what is in flight", limit_.taken())});
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
  events_.tell_refusals(net::steady_now(), true);
  if (control_thread_.joinable()) control_thread_.join();
  listeners_.clear();
}

void Gateway::ping(std::uint32_t shard, std::function<void()> answer) {
  workers_[shard]->shard.post([answer = std::move(answer)](proto::Micros) { answer(); });
}

void Gateway::ping_all(std::function<void(bool all)> done) {
  ask_shards<bool>([](const shard::Worker&, proto::Micros) { return true; },
                   [done = std::move(done)](const auto& answers) { done(shard::all_answered(answers)); });
}

}  // namespace nbdgw::control
