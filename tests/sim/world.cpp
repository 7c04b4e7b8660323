#include "tests/sim/world.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/bridge/limits.hpp"
#include "tests/sim/checkers/checkers.hpp"
#include "tests/sim/client/client.hpp"
#include "tests/sim/crowd.hpp"
#include "tests/sim/draw.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/operator.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/scene.hpp"
#include "tests/sim/site.hpp"
#include "tests/sim/system.hpp"
#include "tests/sim/throng.hpp"
#include "tests/sim/trace.hpp"
#include "tests/sim/trouble.hpp"

namespace nbdgw::sim {
namespace {

constexpr Micros kFaultsLimit = 3600 * proto::kSecond;
/// A world of which each request takes so many events on the average (bytes that come one by one, commands that are
/// done again and again) shows what it has to show with fewer requests, and takes no time from a hundred others.
constexpr std::uint64_t kEventsPerRequest = 150;
constexpr Micros kDrainLimit = 10 * proto::kSecond;
constexpr Micros kLookAtDead = 500 * proto::kMillisecond;
constexpr Micros kEndLimit = 120 * proto::kSecond;
/// Longer than any command outlives its session (TargetFaults::draw).
constexpr Micros kGhostLimit = 60 * proto::kSecond;

// Of links, the same for all of a world.
constexpr const char* kJitter = "jitter";
constexpr const char* kPieces = "pieces";
constexpr const char* kUneven = "uneven";
constexpr const char* kPace = "pace";

constexpr const char* kIsCrowd = "crowd";
constexpr const char* kIsThrong = "throng";
/// Makes of a seed that of the crowd.
constexpr std::uint64_t kCrowd = 0xc70d'c70d'c70d'c70d;

class World final : public Dialler, public Complaints {
 public:
  explicit World(const RunOptions& options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  RunResult run();

  void dial(NbdLink& link, std::size_t room) override;
  void complain(const char* checker, const std::string& what) override;

 private:
  void draw_network();
  void draw_targets();
  void choose_payload();
  void draw_clients();
  std::uint64_t floor() const noexcept;
  void place_rude_hosts();
  void leave_out();
  bool is_left_out(const char* kind) const noexcept { return std::ranges::count(options_.left_out, kind) > 0; }
  void run_until(Micros limit, const auto& over);
  bool quiet() const noexcept {
    return !trouble_->restarting() && !operator_->busy() &&
           std::ranges::all_of(clients_, [](const auto& each) { return each->idle(); }) &&
           std::ranges::all_of(rude_, [](const auto& each) { return each->idle(); });
  }
  std::uint64_t ios() const noexcept;
  void heal();
  void end();
  void check_rest();
  void let_the_dead_go();
  void collect();

  const RunOptions options_;
  Random random_;
  Timeline timeline_;
  Random system_random_;
  Network network_;
  Trace trace_;
  Checkers checkers_;
  LinkHabits links_;
  Micros turn_cost_;
  TroubleHabits trouble_habits_;
  Random operator_random_;  // by itself: it shifts nobody
  OperatorHabits operator_habits_;
  Random crowd_random_;  // the same
  CrowdHabits crowd_;
  Throng throng_;
  Scene scene_;
  std::vector<std::unique_ptr<Site>> sites_;
  GatewaySetup setup_;
  GatewaySetup bounds_;  // of all that an operator may make of it
  std::unique_ptr<Operator> operator_;
  std::unique_ptr<Gateway> gateway_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<RudeHost>> rude_;
  bool good_alone_ = false;  // the clients of a healthy target want to be by themselves
  std::unique_ptr<Trouble> trouble_;
  RunResult result_;
};

World::World(const RunOptions& options)
    : options_(options),
      random_(options.seed),
      system_random_(random_.fork()),
      network_(timeline_, random_.fork()),
      trace_(timeline_, options.traced),
      checkers_(timeline_, *this, trace_),
      turn_cost_(random_.spread(2, 40)),
      trouble_habits_(TroubleHabits::draw(random_)),
      operator_random_(~options.seed),
      operator_habits_(options.faults ? OperatorHabits::draw(operator_random_) : OperatorHabits{}),
      crowd_random_(options.seed ^ kCrowd),
      crowd_(options.faults && !is_left_out(kIsCrowd) ? CrowdHabits::draw(crowd_random_) : CrowdHabits{}),
      throng_(options.faults && !is_left_out(kIsThrong) ? Throng::draw(options.seed) : Throng()),
      scene_(options.faults && !throng_.is_there() ? Scene::draw(options.seed) : Scene()) {
  scene_.set(trouble_habits_, operator_habits_, crowd_);
  throng_.set(trouble_habits_, operator_habits_, crowd_);
  system() = {.network = &network_, .timeline = &timeline_, .random = &system_random_};
  draw_network();
  draw_targets();
  gateway_ = std::make_unique<Gateway>(setup_, network_, checkers_);
  checkers_.watch(*gateway_);
  draw_clients();
  network_.watch_ends([this](std::uint64_t link) {
    for (const auto& client : clients_) client->on_end_seen(link);
  });
  trouble_ =
      std::make_unique<Trouble>(trouble_habits_, timeline_, random_.fork(), *gateway_, clients_, options.left_out);
  place_rude_hosts();
  checkers_.begin(clients_, rude_, links_, trouble_->restarts());
}

World::~World() {
  clients_.clear();
  rude_.clear();
  // A gateway may go only when it has ended, and after a complaint nobody waits for that.
  if (!gateway_->ended()) static_cast<void>(gateway_.release());
  gateway_.reset();
  sites_.clear();
}

void World::draw_network() {
  links_ = draw_links(random_);
  const LinkHabits plain;
  if (options_.faults) scene_.set(links_);
  if (is_left_out(kJitter)) links_.jitter = plain.jitter;
  if (is_left_out(kPieces)) links_.piece = plain.piece;
  if (is_left_out(kUneven)) links_.uneven = plain.uneven;
  if (is_left_out(kPace)) links_.pace = plain.pace;
  network_.set_habits(links_);
}

/// One target or, so that it can be seen whether that one harms others, a healthy one beside it.
void World::draw_targets() {
  keep_of_payload(kStampBytes);
  const std::uint32_t count = throng_.sites(random_.chance(0.25) ? 2 : 1);
  std::uint32_t disks = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    SiteWatch& watch = checkers_.add_site();
    // What a new process, or an export that is made anew, knows of a disk are kept clients and unflushed writes:
    // where there are none, it takes any.
    const Site::Setup setup{.number = i,
                            .first_disk = disks,
                            .faults = options_.faults && i == 0 && !throng_.is_there(),
                            .seed = options_.seed + i,
                            .scene = i == 0 ? &scene_ : nullptr,
                            .throng = &throng_,
                            .spares = trouble_habits_.restarts == 0 && !operator_habits_.makes_anew(),
                            .complaints = &watch,
                            .observer = &watch};
    sites_.push_back(std::make_unique<Site>(setup, random_, timeline_, network_));
    for (const std::string& kind : options_.left_out) sites_.back()->target().allow(kind, false);
    disks += static_cast<std::uint32_t>(sites_.back()->disks().size());
  }
  setup_ = sim::draw_gateway(random_);
  crowd_.apply(setup_);
  for (const auto& site : sites_) setup_.targets.push_back(draw_session(random_, *site));
  scene_.set(setup_);
  throng_.set(setup_);
  operator_ = std::make_unique<Operator>(operator_habits_, timeline_, operator_random_, trace_, sites_, setup_,
                                         options_.left_out);
  bounds_ = operator_->bounds();
  choose_payload();
  checkers_.begin(sites_, bounds_);
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    checkers_.begins_early(i, operator_->least(i), trouble_habits_.restarts > 0 || operator_habits_.makes_anew());
  }
}

/// Which worlds keep all bytes of payload: piece.hpp. Nothing else depends on it.
void World::choose_payload() {
  const bool looked_at = std::ranges::any_of(bounds_.targets, [](const GatewaySetup::Target& target) {
    return target.settings.data_digest != initiator::DigestOffer::none;
  });
  keep_of_payload(looked_at || Random(~options_.seed).chance(1.0 / 64) ? kCellBytes : kStampBytes);
  for (const auto& site : sites_) {
    for (std::size_t i = 0; i < site->target().media(); ++i) site->target().medium(i).clear();
  }
}

void World::draw_clients() {
  for (std::uint32_t i = 0; i < sites_.size(); ++i) {
    const Site& site = *sites_[i];
    const bool good = options_.faults && site.healthy() && !throng_.is_there();
    const bool alone = good && random_.chance(0.5);
    good_alone_ = good_alone_ || alone;
    for (std::uint32_t j = 0; j < site.disks().size(); ++j) {
      const Disk& disk = site.disks()[j];
      const std::int64_t drawn = throng_.clients(i, j, random_.between(1, 3));
      const std::int64_t count = i == 0 ? scene_.clients(j, drawn) : drawn;
      for (std::int64_t client = 0; client < count; ++client) {
        const bool is_good = good && (alone || client == 0);
        ClientHabits habits =
            is_good ? draw_good_client(random_, disk.exported, alone) : draw_client(random_, disk.exported);
        if (!is_good) scene_.set(habits, i == 0);
        throng_.set(habits, {.target = i, .disk = j, .client = client}, floor());
        const auto number = static_cast<std::uint32_t>(clients_.size());
        clients_.push_back(std::make_unique<Client>(number, habits, timeline_, random_.fork(), *this, *disk.oracle,
                                                    *this, checkers_));
      }
    }
  }
}

/// What each export has of the memory for itself, at least (bridge/shares.hpp).
std::uint64_t World::floor() const noexcept {
  std::uint64_t exports = 0;
  for (const auto& site : sites_) exports += site->disks().size();
  return setup_.shard.memory / bridge::kReservedPart * (bridge::kReservedPart - 1) / (2 * exports);
}

/// Half of them at the last target, which is a healthy one if there are two.
void World::place_rude_hosts() {
  for (RudeHabits& habits : crowd_.hosts) {
    const bool last = crowd_random_.chance(0.5) && !good_alone_ && !throng_.hosts_are_first();
    const auto& disks = (last ? sites_.back() : sites_.front())->disks();
    const Disk& disk = disks[crowd_random_.below(disks.size())];
    habits.exported = disk.exported;
    rude_.push_back(std::make_unique<RudeHost>(static_cast<std::uint32_t>(rude_.size()), habits, timeline_,
                                               crowd_random_.fork(), *this, *disk.oracle, *this));
  }
}

void World::run_until(Micros limit, const auto& over) {
  const Micros end = timeline_.now() + limit;
  while (result_.checker.empty() && !over()) {
    const Micros due = std::min(gateway_->due(), timeline_.next());
    if (due > end) return;
    timeline_.advance(std::max(due, timeline_.now()));
    if (const std::uint32_t turns = gateway_->turns(); turns > 0) {
      timeline_.spend(turn_cost_ * turns);
      system().cpu += turn_cost_ * turns;
    }
    trouble_->advance();
    operator_->advance();
    checkers_.look(*gateway_);
  }
}

std::uint64_t World::ios() const noexcept {
  std::uint64_t total = 0;
  for (const auto& client : clients_) total += client->done();
  return total;
}

RunResult World::run() {
  const Micros begin = timeline_.now();
  for (const auto& client : clients_) client->start();
  for (const auto& host : rude_) host->start();
  if (options_.faults) trouble_->start();
  operator_->start(*gateway_, clients_);
  const std::uint64_t events_limit = options_.ios * kEventsPerRequest;
  run_until(kFaultsLimit, [&] { return ios() >= options_.ios || timeline_.events() >= events_limit; });
  heal();
  end();
  result_.lasted = timeline_.now() - begin;
  collect();
  return std::move(result_);
}

/// What is wanted still is done, and nothing new is asked for.
void World::heal() {
  const Micros healed_at = timeline_.now();
  for (const auto& site : sites_) site->target().heal();
  trouble_->heal();
  operator_->heal();
  for (const auto& client : clients_) client->stop();
  for (const auto& host : rude_) host->heal();
  run_until(checkers_.time_to_heal() + operator_->time_to_heal() + crowd_.time_to_heal(), [this] { return quiet(); });
  result_.healed_in = timeline_.now() - healed_at;
  check_rest();
  checkers_.rest(*gateway_);
  let_the_dead_go();
}

void World::check_rest() {
  if (operator_->busy()) complain("liveness", "a reload has no end");
  for (const auto& host : rude_) {
    if (!host->idle()) complain("liveness", host->name() + " waits for answers");
  }
  for (const auto& client : clients_) {
    if (client->idle()) continue;
    complain("liveness", client->name() + " waits since " + std::to_string(client->waits_since()) + " us, it is " +
                             std::to_string(timeline_.now()) + " us, and everything has healed long ago (" +
                             client->waits_on() + ")");
  }
}

/// What they have left behind is with the targets for as long as that takes; then nothing keeps them.
void World::let_the_dead_go() {
  // Whoever has died before a restart is watched anew, when TCP asks seldom already.
  if (crowd_.peer_silence == 0 || trouble_->restarts()) return;
  Micros look_at = 0;
  Micros nothing_since = timeline_.now();
  bool kept = false;
  run_until(checkers_.time_to_heal() + checkers_.longest_dead(), [&] {
    if (!network_.holds_dead_hosts()) return true;
    if (timeline_.now() < look_at) return false;
    look_at = timeline_.now() + kLookAtDead;
    if (checkers_.anything_with_targets(*gateway_)) nothing_since = timeline_.now();
    kept = timeline_.now() - nothing_since > checkers_.longest_dead();
    return kept;
  });
  if (kept) complain("room", "a host that has died is not let go of");
}

/// Ghosts have their time, too.
void World::end() {
  gateway_->end(kDrainLimit, Gateway::End::for_good);
  run_until(kEndLimit, [this] { return gateway_->ended(); });
  if (!gateway_->ended()) return complain("end", "the gateway does not end");
  result_.turns = gateway_->turns_so_far();
  gateway_->close();
  checkers_.end(network_);
  if (result_.checker.empty()) timeline_.advance(timeline_.now() + kGhostLimit);
  checkers_.look_at_disks();
}

void World::complain(const char* checker, const std::string& what) {
  if (!result_.checker.empty()) return;
  result_.checker = checker;
  result_.complaint = what;
  result_.trace = trace_.lines();
}

void World::collect() {
  result_.events = timeline_.events();
  result_.figures = checkers_.figures();
  result_.fingerprint = trace_.fingerprint() ^ (result_.events << 32) ^ result_.turns;
  for (const auto& client : clients_) {
    result_.ios += client->done();
    result_.bytes += client->bytes();
    result_.large += client->large();
    result_.losses += client->losses();
    result_.fingerprint = result_.fingerprint * 31 + client->fingerprint();
    for (const auto& [error, count] : client->errors()) result_.errors[error] += count;
  }
  for (const auto& site : sites_) {
    for (const auto& [name, count] : site->target().faults_seen()) result_.faults[name] += count;
  }
  if (crowd_.stall_timeout > 0) result_.faults[throng_.is_there() ? kIsThrong : kIsCrowd] += 1;
  for (const auto& host : rude_) result_.faults[to_string(host->habits().manner)] += host->seen();
  for (const auto& [name, count] : trouble_->seen()) result_.faults[name] += count;
  for (const auto& [name, count] : operator_->seen()) result_.faults[name] += count;
}

void World::dial(NbdLink& link, std::size_t room) {
  const auto [fd, wire] = network_.dial(link, room);
  link.set_wire(*wire);
  gateway_->accept(fd);
}

}  // namespace

RunResult run_world(const RunOptions& options) {
  return World(options).run();
}

std::vector<std::string> kinds_of_faults() {
  std::vector<std::string> kinds = Trouble::kinds();
  kinds.insert(kinds.end(), Operator::kinds().begin(), Operator::kinds().end());
  for (std::size_t i = 0; i < kFaults; ++i) kinds.emplace_back(to_string(static_cast<Fault>(i)));
  kinds.insert(kinds.end(), {kIsCrowd, kIsThrong, kJitter, kPieces, kUneven, kPace});
  return kinds;
}

}  // namespace nbdgw::sim
