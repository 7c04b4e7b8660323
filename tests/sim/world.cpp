#include "tests/sim/world.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/net/log.hpp"
#include "proto/scsi/lun.hpp"
#include "tests/sim/client/client.hpp"
#include "tests/sim/draw.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/system.hpp"
#include "tests/sim/target/target_model.hpp"
#include "tests/sim/target/wire_target.hpp"
#include "tests/sim/trouble.hpp"

namespace nbdgw::sim {
namespace {

/// Longer than any of the gateway's own limits, one after the other.
constexpr Micros kFaultsLimit = 3600 * proto::kSecond;
constexpr Micros kHealedLimit = 900 * proto::kSecond;
constexpr Micros kDrainLimit = 10 * proto::kSecond;
constexpr Micros kEndLimit = 120 * proto::kSecond;

class World final : public Dialler, public Complaints, public ProtocolComplaints, public MediumObserver {
 public:
  explicit World(const RunOptions& options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  RunResult run();

  void dial(NbdLink& link) override;
  void complain(const char* checker, const std::string& what) override;
  void on_power_loss(const Medium& medium, std::uint64_t blocks, Micros at) override;
  void on_violation(const std::string& what) override { complain("protocol", what); }

 private:
  void draw_target();
  void draw_gateway();
  void draw_clients();
  bool run_until(Micros limit, const auto& over);
  bool quiet() const noexcept {
    return std::ranges::all_of(clients_, [](const auto& each) { return each->idle(); });
  }
  std::uint64_t ios() const noexcept;
  void heal();
  void check_rest();
  void collect();

  const RunOptions options_;
  Random random_;
  Timeline timeline_;
  Random system_random_;
  Network network_;
  Micros turn_cost_;
  std::unique_ptr<Target> target_;
  std::vector<std::unique_ptr<WireController>> controllers_;
  std::vector<std::string> portals_;
  std::string iqn_;
  std::vector<std::unique_ptr<Oracle>> oracles_;  // one for each disk
  std::unique_ptr<Gateway> gateway_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::unique_ptr<Trouble> trouble_;
  RunResult result_;
};

World::World(const RunOptions& options)
    : options_(options),
      random_(options.seed),
      system_random_(random_.fork()),
      network_(timeline_, random_.fork()),
      turn_cost_(random_.spread(2, 40)) {
  system() = {.network = &network_, .timeline = &timeline_, .random = &system_random_};
  network_.set_habits(draw_links(random_));
  draw_target();
  draw_gateway();
  draw_clients();
  trouble_ = std::make_unique<Trouble>(TroubleHabits::draw(random_), timeline_, random_.fork(), *gateway_, clients_);
}

World::~World() {
  clients_.clear();
  // A gateway may go only when it has ended, and after a complaint nobody waits for that.
  if (!gateway_->ended()) static_cast<void>(gateway_.release());
  gateway_.reset();
  target_.reset();
}

/// One array, of one or more controllers over the same disks.
void World::draw_target() {
  TargetOptions options;
  const std::int64_t controllers = random_.chance(0.6) ? 1 : random_.between(2, 3);
  options.controllers.clear();
  for (std::int64_t i = 1; i <= controllers; ++i) {
    options.controllers.push_back(
        {.addresses = {"10.1.0." + std::to_string(i) + ":3260"}, .group_tag = static_cast<std::uint16_t>(i)});
  }
  const std::int64_t disks = random_.between(1, 3);
  for (std::int64_t i = 0; i < disks; ++i) {
    const std::int64_t bytes = random_.spread(4 << 20, 32 << 20) >> 20 << 20;
    options.media.push_back(
        MediumOptions::draw(random_, static_cast<std::uint32_t>(i), static_cast<std::uint64_t>(bytes)));
    options.luns.push_back({.number = static_cast<std::uint64_t>(i), .medium = static_cast<std::size_t>(i)});
    const MediumOptions& medium = options.media.back();
    oracles_.push_back(std::make_unique<Oracle>(timeline_, medium.blocks * medium.block_size / Oracle::kCell));
  }
  options.habits = TargetHabits::draw(random_);
  options.faults = TargetFaults::draw(random_);
  if (!options_.faults) options.faults.rate = {};
  options.complaints = this;
  options.observer = this;
  target_ = std::make_unique<Target>(timeline_, random_.fork(), options);
  for (std::size_t i = 0; i < target_->controllers(); ++i) {
    controllers_.push_back(std::make_unique<WireController>(target_->controller(i)));
    for (const std::string& address : target_->controller(i).options().addresses) {
      network_.listen(address, controllers_.back().get());
      portals_.push_back(address);
    }
  }
  iqn_ = options.names.front();
}

void World::draw_gateway() {
  GatewaySetup setup = sim::draw_gateway(random_);
  setup.targets.push_back(draw_session(random_, iqn_, portals_, static_cast<std::uint32_t>(oracles_.size())));
  gateway_ = std::make_unique<Gateway>(std::move(setup), network_);
}

void World::draw_clients() {
  for (std::size_t disk = 0; disk < oracles_.size(); ++disk) {
    const std::string exported = "vol" + std::to_string(disk);
    for (std::int64_t i = random_.between(1, 3); i > 0; --i) {
      clients_.push_back(std::make_unique<Client>("client " + std::to_string(clients_.size()) + " of " + exported,
                                                  draw_client(random_, exported), timeline_, random_.fork(), *this,
                                                  *oracles_[disk], *this));
    }
  }
}

bool World::run_until(Micros limit, const auto& over) {
  const Micros end = timeline_.now() + limit;
  while (result_.checker.empty() && !over()) {
    const Micros due = std::min(gateway_->due(), timeline_.next());
    if (due > end) return false;
    timeline_.advance(std::max(due, timeline_.now()));
    if (const std::uint32_t turns = gateway_->turns(); turns > 0) {
      timeline_.spend(turn_cost_ * turns);
      system().cpu += turn_cost_ * turns;
    }
    trouble_->advance();
  }
  return true;
}

std::uint64_t World::ios() const noexcept {
  std::uint64_t total = 0;
  for (const auto& client : clients_) total += client->done();
  return total;
}

RunResult World::run() {
  const Micros begin = timeline_.now();
  for (const auto& client : clients_) client->start();
  if (options_.faults) trouble_->start();
  run_until(kFaultsLimit, [this] { return ios() >= options_.ios; });
  heal();
  for (const auto& client : clients_) client->stop();
  if (!run_until(kHealedLimit, [this] { return quiet() && !trouble_->restarting(); })) check_rest();
  gateway_->end(kDrainLimit, false);
  if (!run_until(kEndLimit, [this] { return gateway_->ended(); })) complain("end", "the gateway does not end");
  result_.lasted = timeline_.now() - begin;
  collect();
  return result_;
}

void World::heal() {
  target_->heal();
  trouble_->heal();
}

void World::check_rest() {
  for (const auto& client : clients_) {
    if (client->idle()) continue;
    complain("liveness", client->name() + " waits since " + std::to_string(client->waits_since()) + " us, it is " +
                             std::to_string(timeline_.now()) + " us, and everything has healed");
  }
}

void World::complain(const char* checker, const std::string& what) {
  if (!result_.checker.empty()) return;
  result_.checker = checker;
  result_.complaint = what;
}

void World::collect() {
  result_.events = timeline_.events();
  result_.turns = gateway_->turns_so_far();
  for (const auto& client : clients_) {
    result_.ios += client->done();
    result_.bytes += client->bytes();
    result_.losses += client->losses();
    result_.fingerprint = result_.fingerprint * 31 + client->fingerprint();
    for (const auto& [error, count] : client->errors()) result_.errors[error] += count;
  }
  for (const auto& [name, count] : target_->faults_seen()) result_.faults[name] += count;
  for (const auto& [name, count] : trouble_->seen()) result_.faults[name] += count;
}

void World::on_power_loss(const Medium& medium, std::uint64_t, Micros) {
  for (std::size_t i = 0; i < oracles_.size(); ++i) {
    if (&target_->medium(i) == &medium) oracles_[i]->lose_power();
  }
}

void World::dial(NbdLink& link) {
  const auto [fd, wire] = network_.dial(link);
  link.set_wire(*wire);
  gateway_->accept(fd);
}

}  // namespace

RunResult run_world(const RunOptions& options) {
  return World(options).run();
}

}  // namespace nbdgw::sim
