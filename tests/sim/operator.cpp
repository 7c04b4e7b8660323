#include "tests/sim/operator.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/draw.hpp"

namespace nbdgw::sim {
namespace {

/// What goes has so long to finish what it has.
constexpr Micros kLeastLeave = 100 * proto::kMillisecond;
constexpr Micros kMostLeave = 5 * proto::kSecond;
/// How long an export is away, or takes no clients.
constexpr Micros kLeastAway = 10 * proto::kMillisecond;
constexpr Micros kMostAway = 3 * proto::kSecond;

constexpr const char* kTunes = "reload_tunes";
constexpr const char* kRemakes = "reload_remakes";
constexpr const char* kRemoves = "reload_removes";
constexpr const char* kDrains = "operator_drains";
constexpr const char* kRungs = "operator_recovers";
constexpr const char* kSessionResets = "operator_resets_sessions";
constexpr std::uint64_t kRungsApart = 0x72756e67;
/// Nobody's name: the whole gateway.
constexpr const char* kEverything = "";

/// See Session::retune() and Export::retune().
void tune(GatewaySetup::Target& target, const GatewaySetup::Target& like) {
  initiator::SessionSettings& to = target.settings;
  const initiator::SessionSettings& from = like.settings;
  to.queue_depth = from.queue_depth;
  to.command_timeout = from.command_timeout;
  to.slow_command_timeout = from.slow_command_timeout;
  to.abort_timeout = from.abort_timeout;
  to.lu_reset_timeout = from.lu_reset_timeout;
  to.target_reset_timeout = from.target_reset_timeout;
  to.fast_abort = from.fast_abort;
  to.login_timeout = from.login_timeout;
  to.logout_timeout = from.logout_timeout;
  to.nop_interval = from.nop_interval;
  to.nop_timeout = from.nop_timeout;
  for (std::size_t i = 0; i < target.exports.size(); ++i) {
    target.exports[i].queue_depth = like.exports[i].queue_depth;
    target.exports[i].hold_timeout = like.exports[i].hold_timeout;
    target.exports[i].retries = like.exports[i].retries;
  }
}

/// What a session is logged in with.
void remake(initiator::SessionSettings& to, const initiator::SessionSettings& from) {
  to.connections = from.connections;
  to.header_digest = from.header_digest;
  to.data_digest = from.data_digest;
  to.immediate_data = from.immediate_data;
  to.initial_r2t = from.initial_r2t;
  to.first_burst_length = from.first_burst_length;
  to.max_burst_length = from.max_burst_length;
  to.max_recv_data_segment_length = from.max_recv_data_segment_length;
}

template <typename T>
void at_least(T& value, const T& other) {
  value = std::max(value, other);
}

}  // namespace

OperatorHabits OperatorHabits::draw(Random& random) {
  const auto mean = [&random] {
    const bool never = random.chance(0.5);
    const Micros time = random.spread(50, 10'000) * proto::kMillisecond;
    return never ? 0 : time;
  };
  OperatorHabits habits;
  habits.tunes = mean();
  habits.remakes = mean();
  habits.removes = mean();
  habits.drains = mean();
  // From a source of its own: worlds without it are as they were before there was such a thing.
  Random own(Random(random).next() ^ kRungsApart);
  if (own.chance(0.3)) habits.rungs = own.spread(20, 3'000) * proto::kMillisecond;
  return habits;
}

Operator::Operator(const OperatorHabits& habits, Timeline& timeline, Random random, Trace& trace,
                   const std::vector<std::unique_ptr<Site>>& sites, const GatewaySetup& setup,
                   std::vector<std::string> left_out)
    : habits_(habits),
      timeline_(timeline),
      occasions_(timeline, std::move(left_out)),
      trace_(trace),
      tunes_(random.fork()),
      remakes_(random.fork()),
      removes_(random.fork()),
      drains_(random.fork()),
      setup_(setup) {
  for (std::size_t i = 0; i < sites.size(); ++i) {
    plans_.push_back({.first = setup.targets[i], .second = draw_session(random, *sites[i])});
  }
  rungs_ = random.fork();
  session_resets_ = random.fork();
}

const std::vector<std::string>& Operator::kinds() {
  static const std::vector<std::string> all{kTunes, kRemakes, kRemoves, kDrains, kRungs, kSessionResets};
  return all;
}

GatewaySetup Operator::bounds() const {
  GatewaySetup bounds = setup_;
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    initiator::SessionSettings& most = bounds.targets[i].settings;
    const GatewaySetup::Target& other = plans_[i].second;
    if (habits_.remakes > 0) {
      at_least(most.connections, other.settings.connections);
      at_least(most.data_digest, other.settings.data_digest);
    }
    if (habits_.tunes == 0) continue;
    at_least(most.queue_depth, other.settings.queue_depth);
    at_least(most.command_timeout, other.settings.command_timeout);
    at_least(most.slow_command_timeout, other.settings.slow_command_timeout);
    at_least(most.abort_timeout, other.settings.abort_timeout);
    at_least(most.lu_reset_timeout, other.settings.lu_reset_timeout);
    at_least(most.target_reset_timeout, other.settings.target_reset_timeout);
    at_least(most.login_timeout, other.settings.login_timeout);
    at_least(most.logout_timeout, other.settings.logout_timeout);
    at_least(most.nop_interval, other.settings.nop_interval);
    at_least(most.nop_timeout, other.settings.nop_timeout);
    for (std::size_t j = 0; j < other.exports.size(); ++j) {
      at_least(bounds.targets[i].exports[j].queue_depth, other.exports[j].queue_depth);
      at_least(bounds.targets[i].exports[j].retries, other.exports[j].retries);
    }
  }
  return bounds;
}

GatewaySetup::Target Operator::least(std::size_t target) const {
  const Plan& plan = plans_[target];
  GatewaySetup::Target least = plan.first;
  if (habits_.tunes == 0) return least;
  const initiator::SessionSettings& other = plan.second.settings;
  least.settings.command_timeout = std::min(least.settings.command_timeout, other.command_timeout);
  least.settings.slow_command_timeout = std::min(least.settings.slow_command_timeout, other.slow_command_timeout);
  least.settings.lu_reset_timeout = std::min(least.settings.lu_reset_timeout, other.lu_reset_timeout);
  for (std::size_t i = 0; i < least.exports.size(); ++i) {
    bridge::ExportConfig& exported = least.exports[i];
    exported.hold_timeout = std::min(exported.hold_timeout, plan.second.exports[i].hold_timeout);
    exported.retries = std::min(exported.retries, plan.second.exports[i].retries);
  }
  return least;
}

void Operator::start(Gateway& gateway, const std::vector<std::unique_ptr<Client>>& clients) {
  gateway_ = &gateway;
  clients_ = &clients;
  occasions_.plan(*this, habits_.tunes, tunes_, &Operator::tune);
  occasions_.plan(*this, habits_.remakes, remakes_, &Operator::remake);
  occasions_.plan(*this, habits_.removes, removes_, &Operator::remove);
  occasions_.plan(*this, habits_.drains, drains_, &Operator::drain);
  occasions_.plan(*this, habits_.rungs, rungs_, &Operator::ask_for_rung);
  occasions_.plan(*this, habits_.session_resets, session_resets_, &Operator::reset_session);
}

std::vector<GatewaySetup::Target> Operator::configuration() const {
  std::vector<GatewaySetup::Target> targets;
  for (const Plan& plan : plans_) {
    GatewaySetup::Target& target = targets.emplace_back(plan.first);
    if (plan.tuned) sim::tune(target, plan.second);
    if (plan.remade) sim::remake(target.settings, plan.second.settings);
    std::erase_if(target.exports, [&](const auto& exported) { return plan.removed.contains(exported.name); });
  }
  return targets;
}

void Operator::reload(const char* kind, Random& random) {
  trace_.note("operator: {6}", {}, kind);
  const auto& moved = plans_.front().first.exports;
  for (const auto& client : *clients_) {
    const bool is_of_it = std::ranges::count(moved, client->habits().exported, &bridge::ExportConfig::name) > 0;
    if (std::string_view(kind) != kTunes && is_of_it) client->is_sent_away();
  }
  gateway_->reload(configuration(), random.between(kLeastLeave, kMostLeave));
}

void Operator::tune() {
  Plan& plan = tunes_.any_of(plans_);
  if (!may_reload(kTunes)) return;
  plan.tuned = !plan.tuned;
  ++occasions_.seen(kTunes);
  reload(kTunes, tunes_);
}

void Operator::remake() {
  if (!may_reload(kRemakes)) return;
  plans_.front().remade = !plans_.front().remade;
  ++occasions_.seen(kRemakes);
  reload(kRemakes, remakes_);
}

void Operator::remove() {
  Plan& plan = plans_.front();
  const std::string name = removes_.any_of(plan.first.exports).name;
  const Micros away = removes_.spread(kLeastAway, kMostAway);
  if (!may_reload(kRemoves) || !whole_) return;
  plan.removed.insert(name);
  whole_ = false;
  ++occasions_.seen(kRemoves);
  reload(kRemoves, removes_);
  // advance() brings it back.
  timeline_.after(away, [&plan] { plan.removed.clear(); });
}

void Operator::drain() {
  const std::string name = drains_.chance(0.3) ? kEverything : drains_.any_of(plans_.front().first.exports).name;
  const auto state = drains_.pick({shard::AdminState::drain, shard::AdminState::maint});
  const Micros away = drains_.spread(kLeastAway, kMostAway);
  if (!occasions_.happens(kDrains)) return;
  ++occasions_.seen(kDrains);
  ++drained_;
  trace_.note("operator: {6} takes no clients", {}, name.empty() ? std::string("the gateway") : name);
  if (name.empty()) {
    gateway_->take_clients(false);
  } else {
    gateway_->set_admin_state(name, state);
  }
  timeline_.after(away, [this, name] { undrain(name); });
}

/// With a reload under way it has to wait: what is being made anew has the state of the one before.
void Operator::undrain(const std::string& exported) {
  const bool reloading = !gateway_->may_reload();
  if (reloading) {
    timeline_.after(kLeastAway, [this, exported] { undrain(exported); });
    return;
  }
  --drained_;
  if (exported.empty()) return gateway_->take_clients(true);
  gateway_->set_admin_state(exported, shard::AdminState::ready);
}

/// Mostly a reset of a LUN: what else is under way then, over other connections and in the middle of its data, is as
/// it is only where nothing has hung before.
void Operator::ask_for_rung() {
  using initiator::Rung;
  const GatewaySetup::Target& target = plans_.front().first;
  initiator::RecoveryRequest request{.id = ++asked_, .lun = rungs_.any_of(target.exports).lun};
  request.rung = rungs_.pick({Rung::lu_reset, Rung::lu_reset, Rung::lu_reset, Rung::lu_reset, Rung::abort_task,
                              Rung::abort_task_set, Rung::clear_task_set, Rung::target_warm_reset});
  ask_for(request, kRungs, rungs_.next());
}

void Operator::reset_session() {
  ask_for({.id = ++asked_, .rung = initiator::Rung::session_reset}, kSessionResets, 0);
}

/// `which`: of the commands that are under way, for what is about one of them.
void Operator::ask_for(const initiator::RecoveryRequest& request, const char* kind, std::uint64_t which) {
  const std::string& target = plans_.front().first.settings.label;
  if (!occasions_.happens(kind) || !gateway_->recover(target, request, which)) return;
  ++occasions_.seen(kind);
  trace_.note("operator: asks for {6}", {}, initiator::to_string(request.rung));
}

bool Operator::anything_removed() const noexcept {
  return std::ranges::any_of(plans_.front().first.exports,
                             [this](const auto& exported) { return !gateway_->has_export(exported.name); });
}

void Operator::advance() {
  if (whole_ || !gateway_->may_reload() || !plans_.front().removed.empty()) return;
  whole_ = !anything_removed();
  if (!whole_) reload("what was removed comes back", removes_);
}

bool Operator::busy() const noexcept {
  return gateway_ != nullptr && (drained_ > 0 || !gateway_->may_reload() || !whole_);
}

Micros Operator::time_to_heal() const noexcept {
  const bool acts = habits_.reloads() || habits_.drains > 0;
  return acts ? 2 * (kMostLeave + shard::Shard::kTeardownLimit + kMostAway) : 0;
}

}  // namespace nbdgw::sim
